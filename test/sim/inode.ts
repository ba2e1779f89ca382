/** A file of a simulated disk: what its readers see, what is durable of it, and what a power cut may leave. */

const SECTOR = 512;

/** Which of a dirty sector's states survives a crash: 0 is the durable one, `states` - 1 the latest; -1: none, garbage. */
export type SectorChoice = (path: string, sector: number, states: number) => number;

export interface Inode {
  bytes: Uint8Array;
  /** `bytes` belong to a clone too: copy before changing them. */
  shared: boolean;
  size: number;
  durableSize: number;
  /** For each dirty sector, its states since the last sync: the durable one first, without the latest. */
  dirty: Map<number, Uint8Array[]>;
}

export function own(inode: Inode): void {
  if (inode.shared) inode.bytes = inode.bytes.slice();
  inode.shared = false;
}

export function overwrite(inode: Inode, bytes: Uint8Array, offset: number): void {
  const end = offset + bytes.length;
  own(inode);
  if (end > inode.bytes.length) {
    const grown = new Uint8Array(Math.max(end, 2 * inode.bytes.length, SECTOR));
    grown.set(inode.bytes);
    inode.bytes = grown;
  }
  for (let at = Math.floor(offset / SECTOR); at * SECTOR < end; at += 1) {
    const before = inode.bytes.slice(at * SECTOR, (at + 1) * SECTOR);
    const states = inode.dirty.get(at);
    if (states === undefined) inode.dirty.set(at, [before]);
    else states.push(before);
  }
  inode.bytes.set(bytes, offset);
  inode.size = Math.max(inode.size, end);
}

export function makeDurable(inode: Inode): void {
  inode.dirty.clear();
  inode.durableSize = inode.size;
}

/** What a crash leaves of a file: each dirty sector in the chosen state; the size as far as something survived. */
export function settle(path: string, inode: Inode, choose: SectorChoice): void {
  if (inode.dirty.size === 0 && inode.size === inode.durableSize) return;
  own(inode);
  let size = inode.durableSize;
  for (const [sector, earlier] of inode.dirty) {
    const states = earlier.length + 1;
    const chosen = choose(path, sector, states);
    if (chosen < 0) garble(inode, sector);
    const survivor = earlier[chosen];
    if (survivor !== undefined) inode.bytes.set(survivor, sector * SECTOR);
    if (chosen !== 0) size = Math.max(size, Math.min(inode.size, (sector + 1) * SECTOR));
  }
  inode.bytes.fill(0, size);
  inode.size = size;
  makeDurable(inode);
}

/** Half-written, in a way: neither what was there nor what was to be. */
function garble(inode: Inode, sector: number): void {
  const end = Math.min(inode.size, (sector + 1) * SECTOR);
  for (let at = sector * SECTOR; at < end; at += 1) {
    inode.bytes[at] = Math.imul((inode.bytes[at] as number) + at, 0x9d) & 0xff;
  }
}
