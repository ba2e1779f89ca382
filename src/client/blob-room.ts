/**
 * How many chunks all uploads of a client may have under way: however many uploads there are, what waits is their sources and
 * not bytes in memory. First come, first served.
 */

export class BlobRoom {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(chunks: number) {
    this.#free = chunks;
  }

  /** Resolves when there is room; `leave` must follow. */
  async enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

const CHUNKS = 16;
const rooms = new WeakMap<object, BlobRoom>();

/** The one of this client. */
export function roomOf(client: object): BlobRoom {
  const known = rooms.get(client);
  if (known !== undefined) return known;
  const room = new BlobRoom(CHUNKS);
  rooms.set(client, room);
  return room;
}
