/** A leader with tables for transactions, and whether followers that replay its log come to the same. */

import Database from "better-sqlite3";
import { expect } from "vitest";
import { readFileContent } from "../../../src/machine/content-digest.ts";
import { TestLeader } from "./machine-harness.ts";

const SCHEMA = `
  CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, k UNIQUE, v);
  CREATE TABLE n (r DEFAULT (random()), at DEFAULT CURRENT_TIMESTAMP, c DEFAULT (0));
`;
export const DEFERRED = `
  CREATE TABLE parent (id INTEGER PRIMARY KEY);
  CREATE TABLE child (p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED);
`;
export const TEXTS = "CREATE VIRTUAL TABLE f USING fts5(text)";

export function leaderWith(...scripts: string[]): TestLeader {
  const leader = new TestLeader();
  for (const script of [SCHEMA, ...scripts]) leader.exec(script);
  leader.commit();
  return leader;
}

/** Everything users and sessions left, of the leader's file and of followers that cut the log otherwise. */
export function expectAgreement(leader: TestLeader): void {
  leader.commit();
  const expected = contentOf(leader.path);
  for (const size of [1, 2, 100]) expect(contentOf(leader.follower(() => size))).toEqual(expected);
}

function contentOf(path: string): unknown {
  const db = new Database(path, { readonly: true });
  const sessions = db.prepare("SELECT * FROM balsa_session").all();
  db.close();
  return [readFileContent(path).digest, sessions];
}
