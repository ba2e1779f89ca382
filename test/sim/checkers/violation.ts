/** A property that does not hold. Its message names the property and the evidence. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export function demand(condition: boolean, property: string, evidence: () => string): void {
  if (!condition) throw new Violation(`${property}: ${evidence()}`);
}
