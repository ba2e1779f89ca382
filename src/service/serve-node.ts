/**
 * One node with everything it needs to be reached, in this thread: port, transport, files, server, in the order in which
 * they must begin and end. `balsa serve` runs it on its main thread, an embedded node on a thread of its own. It knows
 * no flags, signals or exit statuses, and never ends its process.
 */

import type { NodeOptions } from "../node/config.ts";
import { openNode, type RunningNode } from "../node/open-node.ts";
import type { Logger } from "../node/ports.ts";
import type { NodeStatus } from "../node/service.ts";
import { type Address, checkExposure, formatAddress, parseAddress } from "../rpc/addresses.ts";
import { tellExtensions } from "../rpc/extension-sets.ts";
import { Listener } from "../rpc/listener.ts";
import { PeerTransport } from "../rpc/peer-transport.ts";
import { ownPlatform } from "../rpc/platform.ts";
import { type RunningServer, startServer } from "../rpc/server.ts";
import { SnapshotTransfer } from "../rpc/snapshot-transfer.ts";
import { BalsaError } from "../sql/errors.ts";
import type { NodeEvent } from "./node-event.ts";

export interface Addresses {
  readonly listen: Address;
  readonly advertise: Address;
}

export interface ServedNode {
  readonly node: RunningNode;
  /** Where it listens; the port is the real one. */
  readonly address: Address;
  /** In order, but no longer than eight seconds; false if something was still open then. */
  stop(): Promise<boolean>;
}

/** What stopping may take. */
const STOP_MS_MAX = 8_000;

/**
 * `advertise` absent: as `listen`. @throws BalsaError INVALID_ARGUMENT or REFUSED (DESIGN D16) with the way out.
 */
export function checkAddresses(
  listenText: string,
  advertiseText: string | undefined,
  insecure: boolean,
): Addresses {
  const listen = parseAddress(listenText);
  const advertise = parseAddress(advertiseText ?? listenText);
  checkExposure({ listen, advertise, insecure });
  if (isWildcard(advertise)) {
    const text = formatAddress(advertise);
    const message = `nobody can connect to ${text}: say with --advertise where others reach this node`;
    throw new BalsaError("INVALID_ARGUMENT", message);
  }
  return { listen, advertise };
}

/** An address to listen on that is none to connect to. */
function isWildcard({ host }: Address): boolean {
  return /^(0\.0\.0\.0|[:0]*)$/.test(host);
}

/** @throws BalsaError if the port cannot be had, an option is bad, or the directory cannot be used. */
export async function serveNode(
  options: Omit<NodeOptions, "advertise">,
  { listen, advertise }: Addresses,
  logger: Logger,
): Promise<ServedNode> {
  const { id, peers, extensions = [] } = options;
  // The port first: whoever cannot have it must not touch the files.
  const listener = await Listener.bind({ listen, logger });
  const platform = ownPlatform(tellExtensions(extensions));
  const transport = new PeerTransport({ id, peers, logger, platform });
  const addressOf = (peer: number) => node?.routeTo(peer) ?? "";
  const snapshots = new SnapshotTransfer({ id, addressOf, logger });
  let node: RunningNode | null = null;
  try {
    const given = { ...options, advertise: formatAddress(advertise) };
    node = await openNode(given, { transport, snapshots, logger });
  } catch (error) {
    await listener.close();
    throw error;
  }
  tellChanges(node, logger);
  const { limits, writeDeadlineMs: writeTimeoutMs } = options;
  const server = await startServer({
    listen: listener,
    node,
    peers: transport,
    snapshots,
    logger,
    ...(limits === undefined ? {} : { limits }),
    ...(writeTimeoutMs === undefined ? {} : { writeTimeoutMs }),
  });
  const event: NodeEvent = { event: "listening" };
  const { address } = listener;
  const facts = { address: formatAddress(address), dir: options.dir, pid: process.pid };
  logger.info({ ...event, ...facts }, "listening");
  const served = node;
  return { node, address, stop: () => stopInOrder(served, server, logger) };
}

/** Logs each change of leader, of role and of what keeps the node from serving, once. */
function tellChanges(node: RunningNode, logger: Logger): void {
  let leadership = "";
  let trouble = "";
  node.watch((status: NodeStatus) => {
    const now = `${status.role} ${status.term} ${status.leader}`;
    if (now !== leadership) {
      leadership = now;
      const event: NodeEvent = { event: "leader", leader: status.leader, term: status.term };
      logger.info({ ...event, role: status.role }, "leadership");
    }
    if (status.trouble === trouble) return;
    trouble = status.trouble;
    if (trouble === "") logger.info({}, "serving again");
    else logger.warn({ trouble }, "not serving");
  });
}

/** First the node, which says goodbye to its peers and answers what waits; then what carried the answers. */
async function stopInOrder(
  node: RunningNode,
  server: RunningServer,
  logger: Logger,
): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const overdue = new Promise<"overdue">((resolve) => {
    timer = setTimeout(() => resolve("overdue"), STOP_MS_MAX);
  });
  const stopped = node.stop().then(() => server.stop());
  const inTime = (await Promise.race([stopped, overdue])) !== "overdue";
  clearTimeout(timer);
  if (inTime) logger.info({}, "stopped");
  else logger.warn({ afterMs: STOP_MS_MAX }, "not everything has stopped in time; ending");
  return inTime;
}
