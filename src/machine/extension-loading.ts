/**
 * Loads extensions into one connection. Every connection that runs users' SQL, or reads tables that may need an extension's
 * collations and modules, is opened through here. It judges nothing: extension-names.ts has done that at the node's start.
 */

import type { Database } from "better-sqlite3";
import type { Extension } from "../sql/extension.ts";
import { demandUnchanged } from "./extension-files.ts";

/** The types that are published know one argument only. */
interface WithEntry {
  loadExtension(path: string, entry: string): void;
}

/** Before any setting of the connection, so that those hold. @throws Error that names the extension and the reason */
export function loadExtensions(database: Database, extensions: readonly Extension[]): void {
  if (extensions.length === 0) return;
  for (const extension of extensions) {
    const { name, path, entry } = extension;
    demandUnchanged(extension);
    try {
      if (entry === null) database.loadExtension(path);
      else (database as WithEntry).loadExtension(path, entry);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`extension ${name} cannot be loaded: ${reason}`, { cause: error });
    }
  }
  // Else a view or a generated column could not use a function that its author has not marked harmless.
  database.pragma("trusted_schema = ON");
}
