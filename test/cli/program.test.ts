/** The command line itself: help, versions, wrong usage, and the exit status of each. Nothing is started. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import manifest from "../../package.json" with { type: "json" };
import { EXIT } from "../../src/cli/exit-code.ts";
import { runProgram } from "../../src/cli/program.ts";

async function run(...argv: string[]) {
  let out = "";
  let err = "";
  const status = await runProgram(argv, {
    out: (text) => {
      out += text;
    },
    err: (text) => {
      err += text;
    },
  });
  return { status, out, err };
}

/** Complete, but for what a test leaves out or spoils. */
const NODE = {
  "--id": "1",
  "--dir": "/nonexistent/never-made",
  "--listen": "127.0.0.1:4001",
  "--peers": "1=127.0.0.1:4001,2=127.0.0.1:4002,3=127.0.0.1:4003",
};

const serveWith = (changes: { readonly [flag: string]: string | null }) => {
  const flags = Object.entries<string | null>({ ...NODE, ...changes });
  return run("serve", ...flags.flatMap(([flag, value]) => (value === null ? [] : [flag, value])));
};

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (name.startsWith("BALSA_")) vi.stubEnv(name, undefined);
  }
});
afterEach(() => vi.unstubAllEnvs());

describe("help", () => {
  test.each([
    [[]],
    [["serve"]],
    [["cluster"]],
    [["status"]],
    [["sql"]],
    [["member", "add"]],
    [["transfer"]],
  ])("%j --help goes to standard output with status 0", async (command) => {
    const { status, out, err } = await run(...command, "--help");
    expect(status).toBe(EXIT.ok);
    expect(err).toBe("");
    expect(out).toMatch(/^Usage: balsa/);
    if (command.length > 0) expect(out).toMatch(/env:\s+BALSA_/);
  });

  test("the list of commands explains the exit status", async () => {
    expect((await run("--help")).out).toMatch(/Exit status: 0 done, 1 failed, 2 wrong usage, 3/);
  });

  test("the version is the package's", async () => {
    const { status, out } = await run("--version");
    expect({ status, out }).toEqual({ status: EXIT.ok, out: `${manifest.version}\n` });
  });
});

describe("wrong usage ends with status 2 and says what is wrong", () => {
  test.each<[string[], RegExp]>([
    [[], /Usage: balsa/],
    [["stauts"], /unknown command 'stauts'[\s\S]*Did you mean status/],
    [["status", "--jsn"], /unknown option '--jsn'[\s\S]*Did you mean --json/],
    [["status", "--endpoints", "here"], /'--endpoints <list>' .*"here" is not HOST:PORT/],
    [["status", "extra"], /too many arguments/],
    [["sql"], /missing required argument 'sql'/],
    [["sql", "SELECT 1", "--consistency", "strong"], /linearizable, session, stale/],
    [["sql", "SELECT 1", "--deadline-ms", "soon"], /"soon" is not a whole number/],
    [["sql", " ; -- nothing"], /there is no SQL/],
    [["cluster", "--nodes", "0"], /"0" is not a whole number from 1 to 9/],
    [["member"], /Usage: balsa member/],
    [["member", "add", "--id", "4"], /required option '--address /],
    [["member", "add", "--address", "a:1"], /required option '--id /],
    [["member", "remove", "--id", "0"], /"0" is not a whole number from 1/],
    [["transfer", "--to", "x"], /"x" is not a whole number from 1/],
    [["cluster", "--port", "70000"], /is not a whole number from 1 to 65527/],
  ])("balsa %j", async (argv, message) => {
    const { status, out, err } = await run(...argv);
    expect({ status, out }).toEqual({ status: EXIT.usage, out: "" });
    expect(err).toMatch(message);
  });

  test.each(Object.keys(NODE))("serve without %s", async (flag) => {
    const { status, err } = await serveWith({ [flag]: null });
    expect(status).toBe(EXIT.usage);
    // Of --peers it says what to give instead.
    const said = flag === "--peers" ? "say with --peers" : `required option '${flag} `;
    expect(err).toContain(said);
  });

  test.each([
    ["--id", "zero", /"zero" is not a whole number from 1/],
    ["--listen", "127.0.0.1", /"127.0.0.1" is not HOST:PORT/],
    ["--listen", "127.0.0.1:0", /"127.0.0.1:0" is not HOST:PORT/],
    ["--peers", "1=a:1,1=b:1", /Node 1 is named twice/],
    ["--heartbeat-ms", "5", /from 10 to 10000/],
    ["--max-request-bytes", "much", /"much" is not a whole number/],
    ["--max-request-bytes", "20000000", /from 1 to 8323072/],
    ["--log-level", "loud", /debug, info, warn, error, silent/],
  ])("serve %s %s", async (flag, value, message) => {
    const { status, err } = await serveWith({ [flag]: value });
    expect(status).toBe(EXIT.usage);
    expect(err).toMatch(message);
  });

  test("an advertised address that nobody can connect to", async () => {
    const flags = Object.entries(NODE).flat();
    const open = ["--listen", "0.0.0.0:4001", "--insecure"];
    const { status, err } = await run("serve", ...flags, ...open);
    expect(status).toBe(EXIT.usage);
    expect(err).toMatch(/nobody can connect to 0.0.0.0:4001: say with --advertise/);
  });
});

describe("the environment", () => {
  test("gives what no flag says, and the flag wins", async () => {
    vi.stubEnv("BALSA_LISTEN", "nowhere");
    const fromEnvironment = await serveWith({ "--listen": null });
    expect(fromEnvironment.status).toBe(EXIT.usage);
    expect(fromEnvironment.err).toMatch(/from env 'BALSA_LISTEN' is invalid.*"nowhere"/);

    vi.stubEnv("BALSA_LISTEN", "127.0.0.1:9");
    vi.stubEnv("BALSA_HEARTBEAT_MS", "1");
    expect((await serveWith({})).err).toMatch(/from env 'BALSA_HEARTBEAT_MS'/);
  });
});

describe("a node that listens beyond this machine", () => {
  test("is refused without --insecure", async () => {
    for (const flag of ["--listen", "--advertise"]) {
      const { status, err } = await serveWith({ [flag]: "192.0.2.1:4001" });
      expect(status).toBe(EXIT.failed);
      expect(err).toMatch(/^balsa: REFUSED: .*192.0.2.1:4001.*--insecure/);
    }
  });

  test("is refused when BALSA_INSECURE says no", async () => {
    vi.stubEnv("BALSA_INSECURE", "0");
    expect((await serveWith({ "--listen": "192.0.2.1:4001" })).err).toMatch(/REFUSED/);
  });

  test("must be on this machine", async () => {
    vi.stubEnv("BALSA_INSECURE", "1");
    vi.stubEnv("BALSA_DIR", "/proc/self/nowhere");
    const { status, err } = await serveWith({ "--listen": "192.0.2.1:4001", "--dir": null });
    expect(status).toBe(EXIT.failed);
    expect(err).toMatch(/cannot make the data directory \/proc\/self\/nowhere/);
  });
});

describe("without a cluster", () => {
  /** A port of the reserved range, on which nothing listens. */
  const nobody = ["--endpoints", "127.0.0.1:1", "--deadline-ms", "300"];

  test("status says so, shows the node as silent, and ends with 3", async () => {
    const { status, out, err } = await run("status", ...nobody);
    expect(status).toBe(EXIT.noCluster);
    expect(out).toMatch(/-\s+127.0.0.1:1\s+no answer: UNAVAILABLE/);
    expect(err).toBe("balsa: no node answers at 127.0.0.1:1\n");
  });

  test("status as JSON has an entry with the error", async () => {
    const { status, out } = await run("status", "--json", ...nobody);
    expect(status).toBe(EXIT.noCluster);
    const [node] = JSON.parse(out);
    expect(node).toMatchObject({ endpoint: "127.0.0.1:1", error: { code: "UNAVAILABLE" } });
  });

  test.each(["SELECT 1", "CREATE TABLE t (a)"])("sql %j ends with 3", async (sql) => {
    const { status, out, err } = await run("sql", sql, ...nobody);
    expect({ status, out }).toEqual({ status: EXIT.noCluster, out: "" });
    expect(err).toMatch(/127.0.0.1:1/);
  });
});
