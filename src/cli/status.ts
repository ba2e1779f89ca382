/** `balsa status`: what each node says of itself, as a table or as JSON. A node that does not answer is shown as such. */

import {
  type ClusterStatus,
  connect,
  type EndpointStatus,
  type NodeStatus,
} from "../client/index.ts";
import { LAG_NEVER } from "../wire/cluster-codec.ts";
import { EXIT, type ExitCode } from "./exit-code.ts";
import type { Output } from "./output.ts";
import { type Column, formatTable } from "./table.ts";

export interface StatusOptions {
  readonly endpoints: readonly string[];
  readonly deadlineMs: number;
  readonly json?: boolean;
}

/** `noCluster` if no endpoint answers. @throws BalsaError */
export async function showStatus(options: StatusOptions, output: Output): Promise<ExitCode> {
  const status = await askAll(options);
  const answered = status.nodes.filter((node) => node.status !== null);
  output.out(options.json === true ? formatJson(status) : formatNodes(status.nodes));
  if (options.json !== true) output.out(machineText(status));
  for (const { status: node } of status.nodes) {
    const isTroubled = node !== null && node.trouble !== "";
    if (isTroubled) output.err(`balsa: node ${node.id} does not serve: ${node.trouble}\n`);
  }
  if (answered.length > 0) return EXIT.ok;
  output.err(`balsa: no node answers at ${options.endpoints.join(", ")}\n`);
  return EXIT.noCluster;
}

/** Which machine version leads; and who runs another one. */
function machineText({ nodes, leader }: ClusterStatus): string {
  const found = nodes.flatMap(({ status }) => (status === null ? [] : [status]));
  const cluster = (found.find(({ id }) => id === leader?.id) ?? found[0])?.machineVersion ?? "";
  if (cluster === "") return "";
  const others = found.filter(({ ownMachineVersion: own }) => own !== "" && own !== cluster);
  const lines = others.map(
    ({ id, ownMachineVersion }) => `node ${id} runs ${ownMachineVersion}, and does not lead\n`,
  );
  return `machine version ${cluster}\n${lines.join("")}`;
}

async function askAll({ endpoints, deadlineMs }: StatusOptions): Promise<ClusterStatus> {
  const db = connect({ endpoints, deadlineMs });
  try {
    const first = await db.status();
    const known = new Set(first.nodes.map(({ endpoint }) => endpoint));
    const named = first.nodes.flatMap(({ status }) => status?.members ?? []);
    // The answers may name members that were not asked.
    if (named.every(({ address }) => address === "" || known.has(address))) return first;
    return await db.status();
  } finally {
    await db.close();
  }
}

const COLUMNS: readonly Column[] = [
  { title: "ID", align: "right" },
  { title: "ADDRESS" },
  { title: "ROLE" },
  { title: "TERM", align: "right" },
  { title: "LAST", align: "right" },
  { title: "COMMIT", align: "right" },
  { title: "APPLIED", align: "right" },
  { title: "LAG", align: "right" },
  { title: "DATABASE", align: "right" },
  { title: "LEADER", align: "right" },
];

function formatNodes(nodes: readonly EndpointStatus[]): string {
  return formatTable(COLUMNS, nodes.map(rowOf));
}

function rowOf({ endpoint, status, error }: EndpointStatus): string[] {
  if (status === null) return ["-", endpoint, `no answer: ${error.code}`];
  return [
    `${status.id}`,
    endpoint,
    status.trouble === "" ? status.role : `${status.role} (not serving)`,
    `${status.term}`,
    `${status.lastIndex}`,
    `${status.commitIndex}`,
    `${status.appliedIndex}`,
    status.lagMs === LAG_NEVER ? "never" : `${status.lagMs} ms`,
    formatBytes(status.databaseBytes),
    status.leader === 0 ? "none" : `${status.leader}`,
  ];
}

function formatBytes(bytes: number): string {
  const mib = bytes / (1024 * 1024);
  return mib < 1 ? `${(bytes / 1024).toFixed(0)} KiB` : `${mib.toFixed(1)} MiB`;
}

/** One array; a node that did not answer has only `endpoint` and `error`. */
function formatJson({ nodes }: ClusterStatus): string {
  const items = nodes.map(({ endpoint, status, error }) => {
    if (status !== null) return { endpoint, ...pick(status) };
    return { endpoint, error: { code: error.code, message: error.message } };
  });
  return `${JSON.stringify(items, null, 2)}\n`;
}

function pick(status: NodeStatus) {
  const { id, role, term, lastIndex, commitIndex, appliedIndex, lagMs } = status;
  const { databaseBytes, leader, leaderAddress, clusterId, address, trouble, version, pid } =
    status;
  const log = { lastIndex, commitIndex, appliedIndex, lagMs };
  const rest = { databaseBytes, leader, leaderAddress, clusterId, address, trouble, version, pid };
  const { machineVersion, ownMachineVersion } = status;
  return { id, role, term, ...log, ...rest, machineVersion, ownMachineVersion };
}
