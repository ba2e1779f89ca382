/*
 * An extension of SQLite for tests: a function, a collation, a table-valued module; and, by what is defined when it is compiled,
 * builds of it that must be refused.
 */
#include <sqlite3ext.h>
#include <string.h>
#include <unistd.h>
SQLITE_EXTENSION_INIT1

#ifndef PREFIX
#define PREFIX ""
#endif
#ifndef FACTOR
#define FACTOR 2
#endif
#ifndef FLAGS
#define FLAGS SQLITE_DETERMINISTIC
#endif

/* times(x): x by FACTOR. */
static void times(sqlite3_context *context, int count, sqlite3_value **values) {
  (void)count;
  sqlite3_result_int64(context, sqlite3_value_int64(values[0]) * FACTOR);
}

/* regexp(pattern, text), behind the operator: does the text begin with the pattern? */
static void regexp(sqlite3_context *context, int count, sqlite3_value **values) {
  const char *pattern = (const char *)sqlite3_value_text(values[0]);
  const char *text = (const char *)sqlite3_value_text(values[1]);
  (void)count;
  if (pattern && text) sqlite3_result_int(context, strncmp(pattern, text, strlen(pattern)) == 0);
}

/* backwards: compares texts from their ends. */
static int backwards(void *data, int aBytes, const void *a, int bBytes, const void *b) {
  const unsigned char *left = a, *right = b;
  (void)data;
  for (; aBytes > 0 && bBytes > 0; aBytes--, bBytes--) {
    int difference = left[aBytes - 1] - right[bBytes - 1];
    if (difference != 0) return difference;
  }
  return aBytes - bBytes;
}

/* upto(n): a table of the numbers 1 to n. */
typedef struct { sqlite3_vtab_cursor base; sqlite3_int64 at, end; } Cursor;

static int uptoConnect(sqlite3 *db, void *data, int count, const char *const *words, sqlite3_vtab **made, char **error) {
  (void)data, (void)count, (void)words, (void)error;
  *made = sqlite3_malloc(sizeof **made);
  if (*made == 0) return SQLITE_NOMEM;
  memset(*made, 0, sizeof **made);
  return sqlite3_declare_vtab(db, "CREATE TABLE x(value, n HIDDEN)");
}
static int uptoDisconnect(sqlite3_vtab *table) {
  sqlite3_free(table);
  return SQLITE_OK;
}
static int uptoBestIndex(sqlite3_vtab *table, sqlite3_index_info *info) {
  (void)table;
  for (int i = 0; i < info->nConstraint; i++) {
    if (info->aConstraint[i].iColumn != 1 || !info->aConstraint[i].usable) continue;
    info->aConstraintUsage[i].argvIndex = 1;
    info->aConstraintUsage[i].omit = 1;
    info->estimatedCost = 10;
    return SQLITE_OK;
  }
  return SQLITE_CONSTRAINT;
}
static int uptoOpen(sqlite3_vtab *table, sqlite3_vtab_cursor **made) {
  Cursor *cursor = sqlite3_malloc(sizeof *cursor);
  (void)table;
  if (cursor == 0) return SQLITE_NOMEM;
  memset(cursor, 0, sizeof *cursor);
  *made = &cursor->base;
  return SQLITE_OK;
}
static int uptoClose(sqlite3_vtab_cursor *cursor) {
  sqlite3_free(cursor);
  return SQLITE_OK;
}
static int uptoFilter(sqlite3_vtab_cursor *base, int plan, const char *name, int count, sqlite3_value **values) {
  Cursor *cursor = (Cursor *)base;
  (void)plan, (void)name;
  cursor->at = 1;
  cursor->end = count > 0 ? sqlite3_value_int64(values[0]) : 0;
  return SQLITE_OK;
}
static int uptoNext(sqlite3_vtab_cursor *base) {
  ((Cursor *)base)->at += 1;
  return SQLITE_OK;
}
static int uptoEof(sqlite3_vtab_cursor *base) {
  return ((Cursor *)base)->at > ((Cursor *)base)->end;
}
static int uptoColumn(sqlite3_vtab_cursor *base, sqlite3_context *context, int column) {
  Cursor *cursor = (Cursor *)base;
  sqlite3_result_int64(context, column == 0 ? cursor->at : cursor->end);
  return SQLITE_OK;
}
static int uptoRowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid) {
  *rowid = ((Cursor *)base)->at;
  return SQLITE_OK;
}

static const sqlite3_module UPTO = {
  .xConnect = uptoConnect, .xBestIndex = uptoBestIndex, .xDisconnect = uptoDisconnect,
  .xOpen = uptoOpen, .xClose = uptoClose, .xFilter = uptoFilter, .xNext = uptoNext,
  .xEof = uptoEof, .xColumn = uptoColumn, .xRowid = uptoRowid,
};

int sqlite3_extension_init(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  SQLITE_EXTENSION_INIT2(api);
#ifdef FAILS
  *error = sqlite3_mprintf("not today");
  return SQLITE_ERROR;
#endif
#ifdef CRASHES
  *(volatile int *)0 = 1;
#endif
#ifdef HANGS
  for (;;) sleep(1);
#endif
#ifdef TAKES
  sqlite3_create_function(db, TAKES, TAKES_COUNT, SQLITE_UTF8 | FLAGS, 0, times, 0, 0);
#endif
  (void)error;
  sqlite3_create_function(db, PREFIX "times", 1, SQLITE_UTF8 | FLAGS, 0, times, 0, 0);
#ifdef WITH_REGEXP
  sqlite3_create_function(db, "regexp", 2, SQLITE_UTF8 | FLAGS, 0, regexp, 0, 0);
#else
  (void)regexp;
#endif
  sqlite3_create_collation(db, PREFIX "backwards", SQLITE_UTF8, 0, backwards);
  return sqlite3_create_module(db, PREFIX "upto", &UPTO, 0);
}

/* Another beginning, with nothing but a function. */
int begin_small(sqlite3 *db, char **error, const sqlite3_api_routines *api) {
  (void)error;
  SQLITE_EXTENSION_INIT2(api);
  return sqlite3_create_function(db, "small", 1, SQLITE_UTF8 | FLAGS, 0, times, 0, 0);
}
