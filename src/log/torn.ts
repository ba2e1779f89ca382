/**
 * Telling a torn write from damage. No I/O here, only looking at bytes.
 *
 * A batch goes to the disk in one write over zeros. After a power cut any subset of its 512-byte sectors is there, and the
 * others are still zero. Nobody was told that it is durable, so it must be cut without complaint. A batch that was
 * acknowledged must never be cut, whatever bit of it has flipped since. The two are told apart exactly, because:
 *
 *   1. Segments are zero when they get their name and each byte is written once. What a cut leaves behind is zeroed,
 *      durably, before anything is written there again.
 *   2. The batch header lies within one sector: it is whole or all zero, and says how long the batch is.
 *   3. Every sector's share of a batch holds at least LEAST_NON_ZERO bytes other than 0 when it is written. Where
 *      payloads would leave fewer (a blob of zeros), the batch's payloads are masked: combined with bytes drawn
 *      from the segment's random id and a number kept in the record, so that no payload can be made to match.
 *   4. A batch is written when the one before it is durable, and is chained to it.
 *
 * What is found where the next batch should be:
 *
 *   header       sectors behind it     body CRC   later frame or segment   verdict
 *   zero         zero                             no                       end of the log
 *   zero         some not zero                    no                       torn: cut
 *   zero                                          yes                      corruption
 *   not zero, its CRC wrong                                                corruption (by 2 not torn)
 *   whole        any                   right                               a good batch
 *   whole        a share all zero      wrong      no                       torn (by 3 not a flip): cut
 *   whole        a share all zero      wrong      yes                      corruption (by 4 it was durable)
 *   whole        no share all zero     wrong                               corruption (by 2 and 3 not torn)
 *
 * What cannot be told: whole sectors of the very last acknowledged batch that read as zeros (a disk that lied about a
 * sync, or lost a sector) look torn. A sector that holds neither its old nor its new bytes after a power cut
 * looks like corruption, and is refused. A complete last batch that was never acknowledged is kept.
 */

export const SECTOR_BYTES = 512;
/** One flipped bit, or even three bytes gone, cannot make a sector's share look unwritten. */
export const LEAST_NON_ZERO = 4;

const ZEROS = Buffer.alloc(64 * 1024);

export function isZero(bytes: Buffer, from: number, to: number): boolean {
  for (let at = from; at < to; at += ZEROS.length) {
    const end = Math.min(to, at + ZEROS.length);
    if (ZEROS.compare(bytes, at, end, 0, end - at) !== 0) return false;
  }
  return true;
}

/** The end of the last byte in bytes[from .. to) that is not zero; `from` if there is none. */
export function lastNonZero(bytes: Buffer, from: number, to: number): number {
  let end = to;
  for (const step of [ZEROS.length, SECTOR_BYTES, 1]) {
    while (end - step >= from && isZero(bytes, end - step, end)) end -= step;
  }
  return end;
}

/**
 * Calls `visit` for the share of each sector in bytes[from .. to), of which the first lies at `fileOffset` in the
 * file; true as soon as a visit is.
 */
function someSector(
  from: number,
  to: number,
  fileOffset: number,
  visit: (from: number, to: number) => boolean,
): boolean {
  let at = from;
  while (at < to) {
    const inSector = (fileOffset + at - from) % SECTOR_BYTES;
    const end = Math.min(to, at + SECTOR_BYTES - inSector);
    if (visit(at, end)) return true;
    at = end;
  }
  return false;
}

/** Whether some sector's share holds so few non-zero bytes that losing it could be taken for a flip. */
export function hasThinSector(
  bytes: Buffer,
  from: number,
  to: number,
  fileOffset: number,
): boolean {
  return someSector(from, to, fileOffset, (start, end) => {
    let found = 0;
    for (let at = start; at < end; at += 1) {
      if (bytes[at] === 0) continue;
      found += 1;
      if (found === LEAST_NON_ZERO) return false;
    }
    return true;
  });
}

/** Whether some sector's share is all zero: a sector that was never written. */
export function hasZeroSector(
  bytes: Buffer,
  from: number,
  to: number,
  fileOffset: number,
): boolean {
  return someSector(from, to, fileOffset, (start, end) => isZero(bytes, start, end));
}

/** The bytes that payloads are combined with under mask `number`, 1 to 255; repeated over the payload. */
export function maskOf(segmentId: number, number: number): Uint8Array {
  const mask = new Uint8Array(SECTOR_BYTES);
  let state = ((segmentId % 0x1_0000_0000) ^ Math.imul(number, 0x9e3779b1)) | 0;
  let other = (Math.floor(segmentId / 0x1_0000_0000) ^ Math.imul(number, 0x85ebca6b)) | 0;
  for (let at = 0; at < mask.length; at += 1) {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5) | 0;
    other = (Math.imul(other ^ (other >>> 13), 0x297a2d39) + 0x1b873593) | 0;
    mask[at] = (state >>> 24) ^ (other >>> 16);
  }
  return mask;
}

/** Gives the payload back as it was before it was combined with this mask. */
export function unmask(payload: Uint8Array, mask: Uint8Array): void {
  for (let i = 0; i < payload.length; i += 1) {
    payload[i] = (payload[i] as number) ^ (mask[i % mask.length] as number);
  }
}
