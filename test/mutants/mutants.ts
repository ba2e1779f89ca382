/** All mutants. Their order is that of docs/SPEC.md. */

import { BLOBS } from "./blobs.ts";
import { CHANGED_FILES } from "./changed-file.ts";
import { COMPARED_CONTENT } from "./content.ts";
import { COPIES } from "./copies.ts";
import { DAMAGED } from "./damage.ts";
import { SAME_CONTENT } from "./determinism.ts";
import { ELECTIONS } from "./elections.ts";
import { LOCAL_READS } from "./embedded.ts";
import { EXTENSIONS } from "./extensions.ts";
import { FIRST_STATE } from "./first-state.ts";
import { FLOW_AND_BOUNDS } from "./flow.ts";
import { LOG_TIME } from "./log-time.ts";
import { MAJORITIES_AND_LOST_DISKS } from "./lost-disks.ts";
import { MEMBERSHIP } from "./membership.ts";
import type { Mutant } from "./mutant.ts";
import { TOO_MUCH } from "./overload.ts";
import { READS } from "./reads.ts";
import { REPLICATION } from "./replication.ts";
import { SERVICE } from "./service.ts";
import { CLUSTER_SETTINGS } from "./settings.ts";
import { SICK } from "./sickness.ts";
import { SNAPSHOT_MUTANTS } from "./snapshots.ts";
import { SPACE_AND_ROT } from "./space.ts";
import { SYNCED } from "./storage.ts";
import { TRANSACTIONS } from "./transactions.ts";

export const MUTANTS: readonly Mutant[] = [
  ...ELECTIONS,
  ...READS,
  ...MEMBERSHIP,
  ...MAJORITIES_AND_LOST_DISKS,
  ...REPLICATION,
  ...FLOW_AND_BOUNDS,
  ...TOO_MUCH,
  ...SICK,
  ...CHANGED_FILES,
  ...SNAPSHOT_MUTANTS,
  ...COPIES,
  ...SYNCED,
  ...DAMAGED,
  ...SPACE_AND_ROT,
  ...SERVICE,
  ...TRANSACTIONS,
  ...SAME_CONTENT,
  ...FIRST_STATE,
  ...COMPARED_CONTENT,
  ...CLUSTER_SETTINGS,
  ...BLOBS,
  ...LOCAL_READS,
  ...EXTENSIONS,
  ...LOG_TIME,
];
