/** All mutants. Their order is that of docs/SPEC.md. */

import { ELECTIONS } from "./elections.ts";
import type { Mutant } from "./mutant.ts";

export const MUTANTS: readonly Mutant[] = [...ELECTIONS];
