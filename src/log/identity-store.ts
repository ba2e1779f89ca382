/**
 * Who this node is, kept in two files of one sector each, `meta.a` and `meta.b`. A change is written to a, synced, then to
 * b, synced, and only then told as done: whichever file is lost or damaged, the other holds the last identity that was told.
 *
 *    0   8  "BALSAMET"
 *    8   2  version, 1                        (magic, version and CRC stay where they are in all versions)
 *   10   2  zero
 *   12   4  number of members, at most 49
 *   16   8  sequence, from 1: the higher one counts
 *   24   8  node id
 *   32  16  incarnation
 *   48  16  cluster id; zeros while blank
 *   64   1  phase: 0 blank, 1 forming, 2 formed, 3 lost
 *   65   7  zero
 *   72  8n  members
 *  468  32  SHA-256 of the file that began the database; zeros: none did
 *  500   8  entry from which on the node votes; 0 for a founder
 *  508   4  CRC of bytes 0..508
 */

import { join } from "node:path";
import type { Identity, Phase } from "../node/ports.ts";
import { invariant } from "../sql/invariant.ts";
import { checksum } from "./crc.ts";
import type { Disk, DiskFile } from "./disk.ts";
import { LogCorruptionError, LogOpenError } from "./errors.ts";
import { isZero } from "./torn.ts";

const META_BYTES = 512;
const CRC_AT = META_BYTES - 4;
const MEMBERS_AT = 72;
const VOTES_FROM_AT = CRC_AT - 8;
const SEED_BYTES = 32;
const SEED_AT = VOTES_FROM_AT - SEED_BYTES;
const MEMBERS_MAX = Math.floor((SEED_AT - MEMBERS_AT) / 8);
const MAGIC = Buffer.from("BALSAMET", "latin1");
const VERSION = 1;
export const IDENTITY_NAMES = ["meta.a", "meta.b"] as const;
const PHASES: readonly Phase[] = ["blank", "forming", "formed", "lost"];
const HEX_32 = /^[0-9a-f]{32}$/;
const NO_CLUSTER = "0".repeat(32);
const HEX_64 = /^[0-9a-f]{64}$/;
const NO_SEED = "0".repeat(64);

export function encodeIdentity(identity: Identity, sequence: number): Buffer {
  const { nodeId, incarnation, clusterId, phase, members } = identity;
  invariant(HEX_32.test(incarnation), "an incarnation is 32 hex digits");
  invariant(clusterId === "" || HEX_32.test(clusterId), "a cluster id is 32 hex digits");
  invariant(clusterId !== NO_CLUSTER, "a cluster id of zeros");
  invariant(members.length <= MEMBERS_MAX, `a cluster of more than ${MEMBERS_MAX} first members`);
  const bytes = Buffer.alloc(META_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt16LE(VERSION, 8);
  bytes.writeUInt32LE(members.length, 12);
  bytes.writeBigUInt64LE(BigInt(sequence), 16);
  bytes.writeBigUInt64LE(BigInt(nodeId), 24);
  bytes.write(incarnation, 32, "hex");
  bytes.write(clusterId, 48, "hex");
  bytes[64] = PHASES.indexOf(phase);
  for (const [at, member] of members.entries()) {
    bytes.writeBigUInt64LE(BigInt(member), MEMBERS_AT + 8 * at);
  }
  invariant(identity.seed === "" || HEX_64.test(identity.seed), "a seed is 64 hex digits");
  bytes.write(identity.seed, SEED_AT, "hex");
  bytes.writeBigUInt64LE(BigInt(identity.votesFrom), VOTES_FROM_AT);
  bytes.writeUInt32LE(checksum(bytes, 0, CRC_AT), CRC_AT);
  return bytes;
}

export interface StoredIdentity {
  readonly identity: Identity;
  readonly sequence: number;
}

/** null: damaged. @throws LogOpenError UNKNOWN_VERSION */
export function decodeIdentity(bytes: Buffer, path: string): StoredIdentity | null {
  if (bytes.length !== META_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return null;
  if (bytes.readUInt32LE(CRC_AT) !== checksum(bytes, 0, CRC_AT)) return null;
  if (bytes.readUInt16LE(8) !== VERSION) {
    throw new LogOpenError("UNKNOWN_VERSION", `${path} was written by another version of Balsa`);
  }
  const phase = PHASES[bytes[64] as number];
  const count = bytes.readUInt32LE(12);
  if (phase === undefined || count > MEMBERS_MAX) return null;
  const clusterId = bytes.toString("hex", 48, 64);
  const seed = bytes.toString("hex", SEED_AT, SEED_AT + SEED_BYTES);
  const identity: Identity = {
    nodeId: Number(bytes.readBigUInt64LE(24)),
    incarnation: bytes.toString("hex", 32, 48),
    clusterId: clusterId === NO_CLUSTER ? "" : clusterId,
    phase,
    members: Array.from({ length: count }, (_, at) =>
      Number(bytes.readBigUInt64LE(MEMBERS_AT + 8 * at)),
    ),
    votesFrom: Number(bytes.readBigUInt64LE(VOTES_FROM_AT)),
    seed: seed === NO_SEED ? "" : seed,
  };
  return { identity, sequence: Number(bytes.readBigUInt64LE(16)) };
}

/** What the two files say; null when there is no identity yet. Changes nothing. @throws LogCorruptionError */
export function loadIdentity(disk: Disk, directory: string): StoredIdentity | null {
  const names = new Set(disk.listNow(directory));
  let newest: StoredIdentity | null = null;
  let damaged: string | null = null;
  for (const name of IDENTITY_NAMES) {
    if (!names.has(name)) continue;
    const path = join(directory, name);
    const bytes = readAll(disk, path);
    // A file that was being made when the power went: it has a name and no content yet.
    if (isZero(bytes, 0, bytes.length)) continue;
    const stored = decodeIdentity(bytes, path);
    if (stored === null) damaged = path;
    else if (newest === null || stored.sequence > newest.sequence) newest = stored;
  }
  if (newest === null && damaged !== null) {
    throw new LogCorruptionError(damaged, 0, "the node's identity is damaged in both files");
  }
  return newest;
}

/** What is wrong with one of the two files; null: nothing. */
export function faultOfIdentityFile(disk: Disk, path: string): string | null {
  const bytes = readAll(disk, path);
  if (isZero(bytes, 0, bytes.length)) return "it is empty, or zeros";
  try {
    return decodeIdentity(bytes, path) === null ? "its bytes do not match its checksum" : null;
  } catch (error) {
    return error instanceof LogOpenError ? error.message : String(error);
  }
}

function readAll(disk: Disk, path: string): Buffer {
  const file = disk.openNow(path);
  try {
    const bytes = Buffer.alloc(Math.min(file.size(), META_BYTES + 1));
    return bytes.subarray(0, file.readNow(bytes, 0));
  } finally {
    file.closeNow();
  }
}

/** Holds the two files and changes them. */
export class IdentityStore {
  readonly #files: readonly DiskFile[];
  #sequence: number;
  /** Changes under way or waiting; each begins when the one before it is done. */
  readonly #waiting: { readonly bytes: Buffer; readonly done: (error: Error | null) => void }[] =
    [];

  private constructor(files: readonly DiskFile[], sequence: number) {
    this.#files = files;
    this.#sequence = sequence;
  }

  /** Makes both files say what `stored` says. */
  static openNow(disk: Disk, directory: string, stored: StoredIdentity): IdentityStore {
    const bytes = encodeIdentity(stored.identity, stored.sequence);
    const names = new Set(disk.listNow(directory));
    const files = IDENTITY_NAMES.map((name) => {
      const path = join(directory, name);
      if (names.has(name) && readAll(disk, path).equals(bytes)) {
        // It may be in the page cache only.
        const file = disk.openNow(path);
        file.syncNow();
        return file;
      }
      const file = disk.createNow(path);
      file.writeNow(bytes, 0);
      file.syncNow();
      file.closeNow();
      disk.syncDirectoryNow(directory);
      return disk.openNow(path);
    });
    disk.syncDirectoryNow(directory);
    return new IdentityStore(files, stored.sequence);
  }

  /** At most one `done` fails: after that nothing is written any more, and no other is called. */
  set(identity: Identity, done: (error: Error | null) => void): void {
    this.#sequence += 1;
    this.#waiting.push({ bytes: encodeIdentity(identity, this.#sequence), done });
    if (this.#waiting.length === 1) this.#writeNext();
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0;
  }

  get files(): readonly DiskFile[] {
    return this.#files;
  }

  #writeNext(): void {
    const change = this.#waiting[0];
    if (change === undefined) return;
    const write = (at: number): void => {
      const file = this.#files[at];
      if (file === undefined) {
        this.#waiting.shift();
        change.done(null);
        this.#writeNext();
        return;
      }
      file.writeDurably(change.bytes, 0, (error) => {
        if (error === null) write(at + 1);
        else change.done(error);
      });
    };
    write(0);
  }
}
