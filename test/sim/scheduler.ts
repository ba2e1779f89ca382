/** Virtual time: a heap of events. Events of the same moment run in the order in which they were planned. */

/** Something planned. What is cancelled stays in the heap and runs nothing. */
export class Planned {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | null;

  constructor(atMs: number, order: number, run: () => void) {
    this.atMs = atMs;
    this.order = order;
    this.run = run;
  }

  cancel(): void {
    this.run = null;
  }
}

export class Scheduler {
  nowMs = 0;
  /** Events run so far: a cheap measure of work, and part of the trace. */
  steps = 0;
  readonly #heap: Planned[] = [];
  #order = 0;

  after(delayMs: number, run: () => void): Planned {
    const event = new Planned(this.nowMs + Math.max(delayMs, 0), this.#order, run);
    this.#order += 1;
    this.#push(event);
    return event;
  }

  /** Runs the next event; false when there is none before `untilMs`. */
  step(untilMs: number): boolean {
    for (;;) {
      const event = this.#heap[0];
      if (event === undefined || event.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return false;
      }
      this.#pop();
      const { run } = event;
      if (run === null) continue;
      this.nowMs = event.atMs;
      this.steps += 1;
      run();
      return true;
    }
  }

  #push(event: Planned): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Planned;
      if (!isBefore(event, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    const { length } = heap;
    if (last === undefined || length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      const right = child + 1;
      if (right < length && isBefore(heap[right] as Planned, heap[child] as Planned)) child = right;
      const below = heap[child] as Planned;
      if (!isBefore(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(left: Planned, right: Planned): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}
