/**
 * Property tests draw from one seed, so that a run is the same everywhere; BALSA_PROPERTY_SEED=random (or a number) draws
 * others. What a random run finds becomes a test of its own.
 */

import fc from "fast-check";

const given = process.env["BALSA_PROPERTY_SEED"] ?? "20261123";

if (given !== "random") fc.configureGlobal({ seed: Number(given) });
