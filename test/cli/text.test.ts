/** What the command prints: values, tables, JSON and log records. */

import { describe, expect, test } from "vitest";
import { cellText, jsonRow, jsonText } from "../../src/cli/cell.ts";
import { formatTable } from "../../src/cli/table.ts";
import { formatLogRecord, parseLogRecord } from "../../src/service/log-line.ts";

describe("values", () => {
  test("people see what SQL would write, and no control characters", () => {
    const values = [null, 1, 2n ** 63n - 1n, 1.5, "é", "a\nb\u001b[1m", new Uint8Array([0, 255])];
    expect(values.map(cellText)).toEqual([
      "NULL",
      "1",
      "9223372036854775807",
      "1.5",
      "é",
      "a\\nb\\x1b[1m",
      "x'00ff'",
    ]);
  });

  test("JSON keeps every digit, and blobs and infinities have a form", () => {
    expect(jsonText(2n ** 63n - 1n)).toBe("9223372036854775807");
    expect(jsonText(new Uint8Array([1, 2, 3]))).toBe('{"base64":"AQID"}');
    expect(JSON.parse(jsonText(Number.POSITIVE_INFINITY))).toBe(Number.POSITIVE_INFINITY);
    expect(JSON.parse(jsonText(Number.NEGATIVE_INFINITY))).toBe(Number.NEGATIVE_INFINITY);
    expect(jsonRow({ 'a"b': "x\n", n: null })).toBe('{"a\\"b":"x\\n","n":null}');
    expect(jsonRow({})).toBe("{}");
  });
});

describe("tables", () => {
  test("columns line up, also with wide and combining characters", () => {
    const columns = [{ title: "NAME" }, { title: "N", align: "right" as const }, { title: "X" }];
    const rows = [
      ["東京", "7", "a"],
      ["Sa\u0303o", "1234", ""],
    ];
    expect(formatTable(columns, rows).split("\n")).toEqual([
      "NAME     N  X",
      "東京     7  a",
      "Sa\u0303o   1234",
      "",
    ]);
  });

  test("without rows there are still titles", () => {
    expect(formatTable([{ title: "A" }, { title: "B" }], [])).toBe("A  B\n");
  });
});

describe("log records", () => {
  test("a record becomes a line with its facts", () => {
    const line =
      '{"level":"warn","time":1700000000123,"a":1,"b":"two words","c":{"d":[]},"msg":"hm"}';
    const record = parseLogRecord(line);
    expect(record).not.toBeNull();
    expect(record && formatLogRecord(record)).toBe(
      '22:13:20.123 WARN  hm a=1 b="two words" c="{\\"d\\":[]}"',
    );
  });

  test.each(["", "plain", "{", '{"level":30,"time":1}', '{"level":"info"}', "{}"])(
    "%j is no record",
    (line) => expect(parseLogRecord(line)).toBeNull(),
  );
});
