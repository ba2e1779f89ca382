/** Range checksums in a log entry, and what the protocol files say of them. */

import { expect, test } from "vitest";
import type { TableRange } from "../../src/wire/checksum-codec.ts";
import { type Command, decodeCommand, encodeCommand } from "../../src/wire/log-codec.ts";
import { messageType } from "../../src/wire/proto.ts";

test("a command of range checksums keeps each key with its kind and its bytes", () => {
  const ranges: TableRange[] = [
    {
      kind: "schema",
      table: "",
      after: [],
      rows: 3,
      isLast: true,
      checksum: 0xffff_ffff,
      failed: "",
    },
    {
      kind: "rows",
      table: "",
      after: [
        null,
        -5n,
        2n ** 63n - 1n,
        -0.0,
        { text: Buffer.from([0x61, 0xff]) },
        Buffer.from([0]),
      ],
      rows: 2_000,
      isLast: false,
      checksum: 1,
      failed: "SQLITE_CORRUPT",
    },
  ];
  const command: Command = {
    timeMs: 5,
    seedHigh: 0,
    seedLow: 0,
    session: 0,
    sequence: 0,
    acknowledgedThrough: 0,
    batch: Buffer.alloc(0),
    openSession: false,
    digest: 7,
    checksum: { ranges, endsPass: true },
  };
  const bytes = encodeCommand(command);
  expect(decodeCommand(bytes).checksum).toEqual(command.checksum);
  const type = messageType("Command");
  const told = type.toObject(type.decode(bytes), { longs: String });
  expect(told).toMatchObject({
    version: 3,
    checksum: {
      ranges: [{ kind: 1, rows: "3" }, { after: [{}, { integer: "-5" }, {}, {}, {}, {}] }],
      endsPass: true,
    },
  });
});
