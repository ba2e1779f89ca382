/** A node's log record, a line of JSON, as a line for people. Never throws: what it cannot read it shows as it is. */

/** What every record holds; its facts stand beside these. */
interface LogRecord {
  readonly time: number;
  readonly level: string;
  readonly message: string;
  readonly facts: { readonly [name: string]: unknown };
}

export function parseLogRecord(line: string): LogRecord | null {
  if (!line.startsWith("{")) return null;
  try {
    const { time, level, msg, ...facts } = JSON.parse(line);
    if (typeof time !== "number" || typeof level !== "string") return null;
    return { time, level, message: typeof msg === "string" ? msg : "", facts };
  } catch {
    return null;
  }
}

/** `12:03:04.567 INFO  became leader term=3`, without a newline. */
export function formatLogRecord(record: LogRecord): string {
  const clock = new Date(record.time).toISOString().slice(11, 23);
  const facts = Object.entries(record.facts).map(([name, value]) => ` ${name}=${factText(value)}`);
  return `${clock} ${record.level.toUpperCase().padEnd(5)} ${record.message}${facts.join("")}`;
}

function factText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === undefined || text === "" || /[\s"=]/.test(text)
    ? JSON.stringify(text ?? "")
    : text;
}
