/**
 * etcd and dqlite beside us: runs another program's closed loops (run.py of the peers' bench, given by --peers) in the
 * same hour and prints their rates and ours over theirs. That program is no part of Balsa.
 */

import { spawn } from "node:child_process";
import type { Settings } from "./settings.ts";

interface PeerFigure {
  readonly peer: string;
  readonly clients: number;
  readonly perSecond: number;
}

/** What each metric of ours is set against: program and suite. */
const SUITES: { readonly [metric: string]: readonly (readonly [peer: string, suite: string])[] } = {
  write: [
    ["etcd", "put"],
    ["dqlite", "insert"],
  ],
  readLinearizable: [["etcd", "get"]],
  readStale: [
    ["etcd", "sget"],
    ["dqlite", "select"],
  ],
};

/** @param ours rates of the metric, by callers. */
export async function printPeers(
  settings: Settings,
  metric: string,
  ours: ReadonlyMap<number, number>,
  print: (figure: object) => void,
): Promise<void> {
  if (settings.peers === "") return;
  for (const [peer, suite] of SUITES[metric] ?? []) {
    for (const { clients, perSecond } of await measured(settings, peer, suite)) {
      const mine = ours.get(clients);
      const ratio = mine === undefined ? null : Math.round((100 * mine) / perSecond) / 100;
      print({ metric: `${metric} of ${peer}`, clients, perSecond: Math.round(perSecond), ratio });
    }
  }
}

function measured(settings: Settings, peer: string, suite: string): Promise<PeerFigure[]> {
  return new Promise((resolve, reject) => {
    const figures: PeerFigure[] = [];
    const callers = settings.callers.filter((count) => peer !== "dqlite" || count <= 64);
    const child = spawn("python3", ["run.py", peer, suite, "1", callers.join(",")], {
      cwd: settings.peers,
      env: { ...process.env, SECS: String(settings.window) },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once("error", reject);
    child.once("close", (code) => {
      if (code !== 0) return reject(new Error(`run.py ended with ${code}`));
      for (const line of text.split("\n").filter((candidate) => candidate.startsWith("{"))) {
        const { conc, rate } = JSON.parse(line) as { conc: number; rate: number };
        figures.push({ peer, clients: conc, perSecond: rate });
      }
      resolve(figures);
    });
  });
}
