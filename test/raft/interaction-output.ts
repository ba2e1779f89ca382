/** What a command prints: indented, filtered by level; at level NONE nothing at all. */

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"];

export class Output {
  #level = 0;
  #indent = "";
  #text = "";
  /** `term/index` of changes that etcd would have written in its older form; ours has one form. */
  readonly v1Changes = new Set<string>();

  get level(): string {
    return LEVELS[this.#level] ?? "";
  }

  setLevel(name: string): void {
    const level = LEVELS.indexOf(name.toUpperCase());
    if (level < 0) throw new Error(`log levels must be either of [${LEVELS.join(" ")}]`);
    this.#level = level;
  }

  get isQuiet(): boolean {
    return this.level === "NONE";
  }

  log(level: string, line: string): void {
    if (LEVELS.indexOf(level) >= this.#level) this.write(`${level} ${line}\n`);
  }

  write(text: string): void {
    if (this.isQuiet) return;
    const named = text.replace(/(\d+\/\d+) EntryConfChangeV2/g, (found, at: string) => {
      return this.v1Changes.has(at) ? `${at} EntryConfChange` : found;
    });
    this.#text += named.replace(/^(?=.)/gm, this.#indent);
  }

  indented(run: () => void): void {
    const before = this.#indent;
    this.#indent += "  ";
    run();
    this.#indent = before;
  }

  take(): string {
    const text = this.#text;
    this.#text = "";
    return text.replace(/\n+$/, "");
  }
}
