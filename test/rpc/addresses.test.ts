/** Addresses as text, and which of them are closed. */

import { describe, expect, test } from "vitest";
import { checkExposure, formatAddress, isLoopback, parseAddress } from "../../src/rpc/addresses.ts";
import { BalsaError } from "../../src/sql/errors.ts";

describe("an address", () => {
  test.each([
    ["127.0.0.1:4001", { host: "127.0.0.1", port: 4001 }],
    ["db-1.example:65535", { host: "db-1.example", port: 65_535 }],
    ["[::1]:0", { host: "::1", port: 0 }],
    ["[fe80::1%eth0]:4001", { host: "fe80::1%eth0", port: 4001 }],
  ])("%s is read and written back", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
    expect(formatAddress(address)).toBe(text);
  });

  test.each([
    "",
    "host",
    "host:",
    ":4001",
    "::1:4001",
    "host:65536",
    "host:-1",
    "a b:1",
    "host:1 ",
  ])("%j is refused with the way to write it", (text) => {
    expect(() => parseAddress(text)).toThrow(/is not HOST:PORT, such as 127.0.0.1:4001/);
  });
});

describe("exposure", () => {
  test.each([
    ["127.0.0.1", true],
    ["127.8.9.10", true],
    ["localhost", true],
    ["::1", true],
    ["::ffff:127.0.0.1", true],
    ["0.0.0.0", false],
    ["::", false],
    ["10.0.0.1", false],
    ["127.example.org", false],
    ["db-1", false],
  ])("%s is loopback: %s", (host, expected) => {
    expect(isLoopback(host)).toBe(expected);
  });

  const inside = { host: "127.0.0.1", port: 1 };
  const outside = { host: "10.0.0.1", port: 1 };

  test.each([
    ["listen", { listen: outside, advertise: inside }],
    ["advertise", { listen: inside, advertise: outside }],
  ])("to %s beyond loopback needs the word insecure", (what, addresses) => {
    const refused = () => checkExposure({ ...addresses, insecure: false });
    expect(refused).toThrow(BalsaError);
    expect(refused).toThrow(new RegExp(`refusing to ${what} on 10.0.0.1:1.*--insecure`));
    expect(() => checkExposure({ ...addresses, insecure: true })).not.toThrow();
  });

  test("loopback needs nothing", () => {
    expect(() =>
      checkExposure({ listen: inside, advertise: inside, insecure: false }),
    ).not.toThrow();
  });
});
