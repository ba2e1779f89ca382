/** A rolling hash over everything that happens in a run, in order: two runs of one seed give the same, or are not one. */
export class Trace {
  #low = 0x811c9dc5;
  #high = 0x1b873593;
  events = 0;

  /** Any number; fractions of a millisecond count too. */
  number(value: number): void {
    const whole = Math.floor(value);
    this.#mix(whole >>> 0);
    this.#mix(Math.floor((value - whole) * 2 ** 32) >>> 0);
  }

  text(text: string): void {
    for (let at = 0; at < text.length; at += 1) this.#mix(text.charCodeAt(at));
  }

  event(kind: string, ...facts: readonly number[]): void {
    this.events += 1;
    this.text(kind);
    for (const fact of facts) this.number(fact);
  }

  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, "0");
    return hex(this.#high) + hex(this.#low);
  }

  #mix(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#low ^= this.#low >>> 15;
    this.#high = Math.imul(this.#high ^ this.#low, 0x85ebca6b);
    this.#high ^= this.#high >>> 13;
  }
}
