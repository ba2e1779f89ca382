/**
 * Texts met before, by their bytes: a statement that is executed again is not decoded again, and the same string comes
 * out, whose hash is known. Holds a bounded number of short texts, and judges none.
 */

/** Longer texts are decoded each time. */
const TEXT_BYTES_MAX = 1024;
/** Two texts that meet at one place push each other out, which costs time and nothing else. */
const PLACES = 256;

interface Known {
  readonly bytes: Uint8Array;
  readonly text: string;
}

export class TextCache {
  readonly #places: (Known | undefined)[] = new Array<Known | undefined>(PLACES).fill(undefined);
  /** The one found last: often it is the next as well. */
  #last: Known = { bytes: new Uint8Array(0), text: "" };

  /** The text of source[start .. end), which is UTF-8. */
  text(source: Buffer, start: number, end: number): string {
    const length = end - start;
    if (length > TEXT_BYTES_MAX) return source.toString("utf8", start, end);
    if (isSame(this.#last.bytes, source, start, length)) return this.#last.text;
    let hash = length;
    for (let at = start; at < end; at += 1)
      hash = (Math.imul(hash, 31) + (source[at] as number)) | 0;
    const place = (hash ^ (hash >>> 8) ^ (hash >>> 16)) & (PLACES - 1);
    const known = this.#places[place];
    if (known !== undefined && isSame(known.bytes, source, start, length)) this.#last = known;
    else {
      const text = source.toString("utf8", start, end);
      this.#last = { bytes: new Uint8Array(source.subarray(start, end)), text };
      this.#places[place] = this.#last;
    }
    return this.#last.text;
  }
}

function isSame(known: Uint8Array, source: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let i = 0; i < length; i += 1) if (known[i] !== source[start + i]) return false;
  return true;
}
