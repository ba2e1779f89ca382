/*
 * Records what each file under one directory had durably on disk, as if only what was synced survived. To be loaded
 * with LD_PRELOAD into every process that works there; power-cut.ts compiles it, reads its records and rewinds the
 * directory to them once all processes are dead, as after a power cut. A kill -9 alone proves nothing about syncs:
 * the page cache survives it.
 *
 * Rules, stricter than most file systems:
 *   - Bytes and size of a file are durable after fsync or fdatasync of it, by any process, or, for a descriptor opened
 *     with O_DSYNC or O_SYNC, when the write returns. sync_file_range, sync and syncfs make nothing durable.
 *   - Names (created, renamed, removed) are durable after fsync of their directory. With POWER_CUT_ENTRY_WITH_FILE=1
 *     a sync of a file makes its own name durable too.
 *   - What is written through a shared mapping is not seen, nor what the C library's own FILE functions write. SQLite
 *     maps only its -shm file, which is left out here: it does not survive a restart anyway.
 *
 * The records, under $POWER_CUT_SHADOW; KEY is inode number and birth time, which no two files ever share:
 *   inodes/KEY        the durable content of a file
 *   dirty/KEY         bitmaps of 512-byte blocks: written since the last sync; being copied. Mapped by all processes, so
 *                     that a sync makes durable what another process wrote, even one that has been killed since.
 *   dirs/KEY/NAME     the durable entries of a directory: for a file a hard link to inodes/…, for a directory a symbolic
 *                     link to its KEY
 *
 * Environment: POWER_CUT_ROOT, POWER_CUT_SHADOW (absolute, without symbolic links), POWER_CUT_IGNORE and POWER_CUT_FAIL
 * (which syncs to pretend, or to fail with EIO: `[kind:]pattern[@n]`, several parted by `;`; kind is fsync, fdatasync,
 * dsync or dir; the pattern is fnmatch's on the path below the root; n counts the matches in a process from 1),
 * POWER_CUT_FAIL_WHILE (a file: POWER_CUT_FAIL holds, and counts, only while it exists), POWER_CUT_REAL_SYNC=0 (do not sync
 * in truth), POWER_CUT_TRACE (a file: one line a sync).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK 512
/* 16 GiB a file: two bitmaps of 4 MiB, sparse. */
#define BLOCKS_MAX (UINT64_C(1) << 25)
#define WORDS_MAX (BLOCKS_MAX / 64)
#define FDS_MAX 65536
#define TABLE_SIZE 4096
#define RULES_MAX 16
#define COPY_BYTES 65536

#define EXPORT __attribute__((visibility("default")))

/* --- the functions that are stood in front of ------------------------------------------------------------------- */

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_dup)(int);
static int (*real_dup2)(int, int);
static int (*real_dup3)(int, int, int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);
static ssize_t (*real_sendfile)(int, int, off_t *, size_t);
static ssize_t (*real_copy_file_range)(int, off_t *, int, off_t *, size_t, unsigned);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_posix_fallocate)(int, off_t, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static long (*real_syscall)(long, ...);

/* --- state ------------------------------------------------------------------------------------------------------ */

struct bitmaps {
  _Atomic uint64_t blocks; /* one more than the highest block ever marked */
  char pad[4096 - sizeof(uint64_t)];
  _Atomic uint64_t dirty[WORDS_MAX];
  _Atomic uint64_t copying[WORDS_MAX];
};

/* Never freed: other threads may hold it, and closing read_fd would drop SQLite's locks on the file. */
struct file {
  uint64_t inode;
  uint64_t birth;
  struct bitmaps *bits;
  int shadow_fd;
  int read_fd;
  pthread_mutex_t lock;
  char *buffer; /* COPY_BYTES, used under the lock: a thread's stack may be tiny */
  struct file *next;
};

enum kind { FSYNC, FDATASYNC, DSYNC, DIRECTORY };
static const char *const kind_names[] = {"fsync", "fdatasync", "dsync", "dir"};

struct rule {
  int kind; /* -1: any */
  char pattern[256];
  long only; /* 0: every call */
  _Atomic long seen;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int active;
static pid_t owner;
static char root[PATH_MAX];
static size_t root_length;
static int shadow_fd = -1;
static int trace_fd = -1;
static int entry_with_file;
static int real_sync = 1;
static struct rule ignore_rules[RULES_MAX], fail_rules[RULES_MAX];
static int ignore_count, fail_count;
static const char *fail_while;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *table[TABLE_SIZE];
static struct file *_Atomic fd_file[FDS_MAX];
static _Atomic int fd_flags[FDS_MAX];

static void die(const char *what) {
  dprintf(2, "power-cut: %s: %s\n", what, strerror(errno));
  _exit(97);
}

static int parse_rules(const char *text, struct rule *rules) {
  int count = 0;
  char copy[4096];
  if (text == NULL || strlen(text) >= sizeof copy) return 0;
  strcpy(copy, text);
  char *rest = NULL;
  for (char *one = strtok_r(copy, ";", &rest); one; one = strtok_r(NULL, ";", &rest)) {
    if (count == RULES_MAX) die("too many rules");
    struct rule *rule = &rules[count++];
    rule->kind = -1;
    for (int kind = FSYNC; kind <= DIRECTORY; kind++) {
      size_t length = strlen(kind_names[kind]);
      if (strncmp(one, kind_names[kind], length) != 0 || one[length] != ':') continue;
      rule->kind = kind;
      one += length + 1;
      break;
    }
    char *at = strrchr(one, '@');
    if (at != NULL) {
      rule->only = atol(at + 1);
      *at = 0;
    }
    snprintf(rule->pattern, sizeof rule->pattern, "%s", one);
  }
  return count;
}

static void start(void) {
#define FIND(name) real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name)
  FIND(open), FIND(openat), FIND(close), FIND(dup), FIND(dup2), FIND(dup3), FIND(write);
  FIND(pwrite), FIND(writev), FIND(pwritev), FIND(pwritev2), FIND(sendfile);
  FIND(copy_file_range), FIND(fallocate), FIND(posix_fallocate), FIND(ftruncate);
  FIND(fsync), FIND(fdatasync), FIND(syscall);
  const char *root_text = getenv("POWER_CUT_ROOT"), *shadow = getenv("POWER_CUT_SHADOW");
  if (root_text == NULL || shadow == NULL) return;
  snprintf(root, sizeof root, "%s", root_text);
  root_length = strlen(root);
  shadow_fd = real_open(shadow, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (shadow_fd < 0) die("cannot open POWER_CUT_SHADOW");
  const char *trace = getenv("POWER_CUT_TRACE");
  if (trace != NULL) {
    trace_fd = real_open(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (trace_fd < 0) die("cannot open POWER_CUT_TRACE");
  }
  const char *with_file = getenv("POWER_CUT_ENTRY_WITH_FILE");
  entry_with_file = with_file != NULL && strcmp(with_file, "1") == 0;
  const char *truly = getenv("POWER_CUT_REAL_SYNC");
  real_sync = truly == NULL || strcmp(truly, "0") != 0;
  ignore_count = parse_rules(getenv("POWER_CUT_IGNORE"), ignore_rules);
  fail_count = parse_rules(getenv("POWER_CUT_FAIL"), fail_rules);
  fail_while = getenv("POWER_CUT_FAIL_WHILE");
  owner = getpid();
  active = 1;
}

static inline int ready(void) {
  pthread_once(&once, start);
  return active;
}

/* --- which file is it ------------------------------------------------------------------------------------------- */

/* The path of an open descriptor below the root, "." for the root itself; 0 if it is elsewhere. */
static int path_below_root(int fd, char *below, size_t size) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strncmp(path, root, root_length) != 0) return 0;
  if (path[root_length] == 0) return snprintf(below, size, ".");
  if (path[root_length] != '/') return 0;
  return snprintf(below, size, "%s", path + root_length + 1);
}

static int is_left_out(const char *name) {
  size_t length = strlen(name);
  return length >= 4 && strcmp(name + length - 4, "-shm") == 0;
}

static int identify(int at, const char *name, struct statx *found) {
  int flags = AT_SYMLINK_NOFOLLOW | (name[0] == 0 ? AT_EMPTY_PATH : 0);
  return statx(at, name, flags, STATX_BASIC_STATS | STATX_BTIME, found);
}

static uint64_t birth_of(const struct statx *found) {
  if ((found->stx_mask & STATX_BTIME) == 0) return 0;
  return (uint64_t)found->stx_btime.tv_sec * 1000000000u + found->stx_btime.tv_nsec;
}

static void key_path(char *path, size_t size, const char *kind, const struct statx *found) {
  snprintf(path, size, "%s/%llu-%llu", kind, (unsigned long long)found->stx_ino,
           (unsigned long long)birth_of(found));
}

static struct file *make_file(const struct statx *found) {
  struct file *file = calloc(1, sizeof *file);
  if (file == NULL || (file->buffer = malloc(COPY_BYTES)) == NULL) die("out of memory");
  char path[128];
  file->inode = found->stx_ino;
  file->birth = birth_of(found);
  file->read_fd = -1;
  pthread_mutex_init(&file->lock, NULL);
  key_path(path, sizeof path, "inodes", found);
  file->shadow_fd = real_openat(shadow_fd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file->shadow_fd < 0) die("cannot open a shadow");
  key_path(path, sizeof path, "dirty", found);
  int fd = real_openat(shadow_fd, path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || real_ftruncate(fd, sizeof(struct bitmaps)) < 0) die("cannot open a bitmap");
  file->bits = mmap(NULL, sizeof(struct bitmaps), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (file->bits == MAP_FAILED) die("cannot map a bitmap");
  real_close(fd);
  return file;
}

static struct file *file_of(const struct statx *found) {
  struct file **slot = &table[found->stx_ino % TABLE_SIZE];
  pthread_mutex_lock(&table_lock);
  struct file *file = *slot;
  while (file && (file->inode != found->stx_ino || file->birth != birth_of(found))) file = file->next;
  if (file == NULL) {
    file = make_file(found);
    file->next = *slot;
    *slot = file;
  }
  pthread_mutex_unlock(&table_lock);
  return file;
}

/* A child between vfork and exec shares our memory but not our descriptors: it must leave the table alone. */
static int is_ours(int fd) { return fd >= 0 && fd < FDS_MAX && getpid() == owner; }

/* Called with every new descriptor; forgets what the number stood for before. */
static void opened(int fd, int flags) {
  if (fd < 0) return;
  int before = errno;
  struct file *file = NULL;
  struct statx found;
  char below[PATH_MAX];
  if ((flags & O_PATH) == 0 && identify(fd, "", &found) == 0 && S_ISREG(found.stx_mode) &&
      path_below_root(fd, below, sizeof below) && !is_left_out(below)) {
    if (fd >= FDS_MAX) die("too many descriptors");
    file = file_of(&found);
  }
  if (is_ours(fd)) {
    fd_flags[fd] = flags;
    fd_file[fd] = file;
  }
  errno = before;
}

static inline struct file *tracked(int fd) {
  return ready() && fd >= 0 && fd < FDS_MAX ? fd_file[fd] : NULL;
}

/* --- what is dirty, and how it becomes durable ------------------------------------------------------------------ */

static void mark(struct file *file, off_t from, off_t length) {
  if (length <= 0) return;
  uint64_t first = (uint64_t)from / BLOCK, last = (uint64_t)(from + length - 1) / BLOCK;
  if (last >= BLOCKS_MAX) die("a file is larger than the bitmaps");
  uint64_t seen = file->bits->blocks;
  while (seen <= last && !atomic_compare_exchange_weak(&file->bits->blocks, &seen, last + 1)) continue;
  for (uint64_t word = first / 64; word <= last / 64; word++) {
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64) mask &= ~UINT64_C(0) << (first % 64);
    if (word == last / 64) mask &= ~UINT64_C(0) >> (63 - last % 64);
    if ((atomic_load(&file->bits->dirty[word]) & mask) != mask)
      atomic_fetch_or(&file->bits->dirty[word], mask);
  }
}

/* A descriptor that can read the file. One opened here is kept: closing it would drop the process's locks. */
static int readable(struct file *file, int fd) {
  if ((fd_flags[fd] & O_ACCMODE) != O_WRONLY) return fd;
  if (file->read_fd < 0) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    file->read_fd = real_open(link, O_RDONLY | O_CLOEXEC);
    if (file->read_fd < 0) die("cannot read a file back");
  }
  return file->read_fd;
}

static int is_zero(const char *bytes, size_t length) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* Preallocated zeros beyond the shadow's end stay holes. */
static void copy(struct file *file, int from_fd, off_t from, off_t to, off_t shadow_size) {
  char *buffer = file->buffer;
  while (from < to) {
    size_t want = to - from < COPY_BYTES ? (size_t)(to - from) : COPY_BYTES;
    ssize_t got = pread(from_fd, buffer, want, from);
    if (got < 0) die("cannot read a file back");
    if (got == 0) return;
    int is_hole = from >= shadow_size && is_zero(buffer, (size_t)got);
    if (!is_hole && real_pwrite(file->shadow_fd, buffer, (size_t)got, from) != got)
      die("cannot write a shadow");
    from += got;
  }
}

/*
 * Copies the dirty blocks of [from, to) to the shadow. `copying` holds what is under way, so that a process killed in
 * the middle leaves it to the next sync. Returns the number of blocks.
 */
static uint64_t copy_dirty(struct file *file, int fd, off_t from, off_t to, off_t size) {
  struct stat shadow;
  if (fstat(file->shadow_fd, &shadow) < 0) die("cannot stat a shadow");
  int source = readable(file, fd);
  uint64_t count = 0, run_start = 0, run_end = 0;
  uint64_t first = (uint64_t)from / BLOCK;
  uint64_t last = to > 0 ? (uint64_t)(to - 1) / BLOCK : 0;
  if (last >= file->bits->blocks) last = file->bits->blocks == 0 ? 0 : file->bits->blocks - 1;
  for (uint64_t word = first / 64; word <= last / 64; word++) {
    if (file->bits->dirty[word] == 0 && file->bits->copying[word] == 0) continue;
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64) mask &= ~UINT64_C(0) << (first % 64);
    if (word == last / 64) mask &= ~UINT64_C(0) >> (63 - last % 64);
    atomic_fetch_or(&file->bits->copying[word], atomic_load(&file->bits->dirty[word]) & mask);
    atomic_fetch_and(&file->bits->dirty[word], ~(file->bits->copying[word] & mask));
    uint64_t todo = file->bits->copying[word] & mask;
    for (int bit = 0; bit < 64; bit++) {
      if ((todo >> bit & 1) == 0) continue;
      uint64_t block = word * 64 + (uint64_t)bit;
      count++;
      if (block != run_end || run_end == run_start) {
        off_t end = (off_t)run_end * BLOCK < size ? (off_t)run_end * BLOCK : size;
        copy(file, source, (off_t)run_start * BLOCK, end, shadow.st_size);
        run_start = block;
      }
      run_end = block + 1;
    }
  }
  off_t end = (off_t)run_end * BLOCK < size ? (off_t)run_end * BLOCK : size;
  copy(file, source, (off_t)run_start * BLOCK, end, shadow.st_size);
  for (uint64_t word = first / 64; word <= last / 64; word++) {
    if (file->bits->copying[word] == 0) continue;
    uint64_t mask = ~UINT64_C(0);
    if (word == first / 64) mask &= ~UINT64_C(0) << (first % 64);
    if (word == last / 64) mask &= ~UINT64_C(0) >> (63 - last % 64);
    atomic_fetch_and(&file->bits->copying[word], ~mask);
  }
  return count;
}

static void lock_file(struct file *file) {
  pthread_mutex_lock(&file->lock);
  while (flock(file->shadow_fd, LOCK_EX) < 0)
    if (errno != EINTR) die("cannot lock a shadow");
}

static void unlock_file(struct file *file) {
  flock(file->shadow_fd, LOCK_UN);
  pthread_mutex_unlock(&file->lock);
}

static uint64_t make_durable(struct file *file, int fd) {
  struct stat real, shadow;
  lock_file(file);
  if (fstat(fd, &real) < 0) die("cannot stat a file");
  off_t end = (off_t)(file->bits->blocks * BLOCK);
  uint64_t count = copy_dirty(file, fd, 0, end, real.st_size);
  if (fstat(file->shadow_fd, &shadow) < 0) die("cannot stat a shadow");
  if (shadow.st_size != real.st_size && real_ftruncate(file->shadow_fd, real.st_size) < 0)
    die("cannot resize a shadow");
  unlock_file(file);
  return count;
}

static uint64_t make_range_durable(struct file *file, int fd, off_t from, off_t length) {
  struct stat real, shadow;
  lock_file(file);
  if (fstat(fd, &real) < 0) die("cannot stat a file");
  uint64_t count = copy_dirty(file, fd, from, from + length, real.st_size);
  if (fstat(file->shadow_fd, &shadow) < 0) die("cannot stat a shadow");
  if (shadow.st_size < from + length && real_ftruncate(file->shadow_fd, from + length) < 0)
    die("cannot resize a shadow");
  unlock_file(file);
  return count;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void make_temporary_name(char *name, size_t size) {
  static _Atomic unsigned serial;
  snprintf(name, size, "tmp/%d-%u", (int)getpid(), serial++);
}

static void record_file_entry(const char *entry, const struct statx *found) {
  char inode[128], temporary[64];
  struct stat content, present;
  key_path(inode, sizeof inode, "inodes", found);
  int fd = real_openat(shadow_fd, inode, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || fstat(fd, &content) < 0) die("cannot open a shadow");
  real_close(fd);
  if (fstatat(shadow_fd, entry, &present, AT_SYMLINK_NOFOLLOW) == 0 &&
      present.st_ino == content.st_ino)
    return;
  make_temporary_name(temporary, sizeof temporary);
  if (linkat(shadow_fd, inode, shadow_fd, temporary, 0) < 0 ||
      renameat(shadow_fd, temporary, shadow_fd, entry) < 0)
    die("cannot record a name");
}

static void record_directory_entry(const char *entry, const struct statx *found) {
  char key[128], present[128], temporary[64];
  key_path(key, sizeof key, "dirs", found);
  if (mkdirat(shadow_fd, key, 0755) < 0 && errno != EEXIST) die("cannot record a directory");
  ssize_t length = readlinkat(shadow_fd, entry, present, sizeof present - 1);
  if (length > 0) {
    present[length] = 0;
    if (strcmp(present, key) == 0) return;
  }
  make_temporary_name(temporary, sizeof temporary);
  if (symlinkat(key, shadow_fd, temporary) < 0 ||
      renameat(shadow_fd, temporary, shadow_fd, entry) < 0)
    die("cannot record a name");
}

static DIR *open_directory(int at, const char *path) {
  int fd = real_openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (directory == NULL) die("cannot list a directory");
  return directory;
}

static void record_entry(int fd, const char *own, const char *name) {
  struct statx found;
  char entry[PATH_MAX];
  if (is_left_out(name) || identify(fd, name, &found) < 0) return;
  snprintf(entry, sizeof entry, "%s/%s", own, name);
  if (S_ISREG(found.stx_mode)) record_file_entry(entry, &found);
  if (S_ISDIR(found.stx_mode)) record_directory_entry(entry, &found);
}

/* Makes the recorded entries of a directory equal to the present ones. */
static void make_directory_durable(int fd, const struct statx *found) {
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  char own[128], link[64];
  struct dirent *each;
  key_path(own, sizeof own, "dirs", found);
  pthread_mutex_lock(&lock);
  if (mkdirat(shadow_fd, own, 0755) < 0 && errno != EEXIST) die("cannot record a directory");
  DIR *recorded = open_directory(shadow_fd, own);
  while (flock(dirfd(recorded), LOCK_EX) < 0)
    if (errno != EINTR) die("cannot lock a directory");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  DIR *real = open_directory(AT_FDCWD, link);
  while ((each = readdir(real)) != NULL)
    if (strcmp(each->d_name, ".") != 0 && strcmp(each->d_name, "..") != 0)
      record_entry(fd, own, each->d_name);
  closedir(real);
  while ((each = readdir(recorded)) != NULL) {
    struct statx present;
    if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0) continue;
    if (identify(fd, each->d_name, &present) == 0 || errno != ENOENT) continue;
    unlinkat(dirfd(recorded), each->d_name, 0);
  }
  closedir(recorded);
  pthread_mutex_unlock(&lock);
}

/* The ext4-like option: a synced file brings its own name with it. */
static void record_own_entry(int fd) {
  char path[2 * PATH_MAX + 2], below[PATH_MAX], own[128];
  struct statx parent;
  if (!path_below_root(fd, below, sizeof below)) return;
  snprintf(path, sizeof path, "%s/%s", root, below);
  char *slash = strrchr(path, '/');
  *slash = 0;
  int directory = real_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  if (identify(directory, "", &parent) == 0) {
    key_path(own, sizeof own, "dirs", &parent);
    if (mkdirat(shadow_fd, own, 0755) < 0 && errno != EEXIST) die("cannot record a directory");
    record_entry(directory, own, slash + 1);
  }
  real_close(directory);
}

/* --- syncs ------------------------------------------------------------------------------------------------------ */

static int matches(struct rule *rules, int count, enum kind kind, const char *below) {
  int found = 0;
  for (struct rule *rule = rules; rule < rules + count; rule++) {
    if (rule->kind >= 0 && rule->kind != (int)kind) continue;
    if (fnmatch(rule->pattern, below, 0) != 0) continue;
    long seen = ++rule->seen;
    if (rule->only == 0 || rule->only == seen) found = 1;
  }
  return found;
}

enum fate { HONEST, PRETENDED, FAILED };

static enum fate fate_of(int fd, enum kind kind, char *below) {
  below[0] = 0;
  if (ignore_count + fail_count == 0 && trace_fd < 0) return HONEST;
  path_below_root(fd, below, PATH_MAX);
  int may_fail = fail_count > 0 && (fail_while == NULL || access(fail_while, F_OK) == 0);
  if (may_fail && matches(fail_rules, fail_count, kind, below)) return FAILED;
  return matches(ignore_rules, ignore_count, kind, below) ? PRETENDED : HONEST;
}

static void trace(enum kind kind, enum fate fate, const char *below, uint64_t blocks) {
  static const char *const fates[] = {"synced", "ignored", "failed"};
  char line[PATH_MAX + 128];
  if (trace_fd < 0) return;
  int length = snprintf(line, sizeof line, "%d %s %s %llu %s\n", (int)getpid(), kind_names[kind],
                        fates[fate], (unsigned long long)blocks, below);
  if (real_write(trace_fd, line, (size_t)length) < 0) die("cannot write the trace");
}

static int synced(int fd, enum kind kind, int (*real)(int)) {
  struct file *file = tracked(fd);
  struct statx found;
  char below[PATH_MAX];
  if (file == NULL) {
    if (!active || identify(fd, "", &found) < 0 || !S_ISDIR(found.stx_mode) ||
        !path_below_root(fd, below, sizeof below))
      return real(fd);
    kind = DIRECTORY;
  }
  enum fate fate = fate_of(fd, kind, below);
  uint64_t blocks = 0;
  if (fate == HONEST) {
    if (real_sync && real(fd) < 0) return -1;
    if (file == NULL) make_directory_durable(fd, &found);
    else blocks = make_durable(file, fd);
    if (file != NULL && entry_with_file) record_own_entry(fd);
  }
  trace(kind, fate, below, blocks);
  if (fate == FAILED) errno = EIO;
  return fate == FAILED ? -1 : 0;
}

EXPORT int fsync(int fd) {
  ready();
  return synced(fd, FSYNC, real_fsync);
}

EXPORT int fdatasync(int fd) {
  ready();
  return synced(fd, FDATASYNC, real_fdatasync);
}

/* --- writes ----------------------------------------------------------------------------------------------------- */

/* What the call returns: the bytes are there, but if their sync was to fail nobody may know whether they will stay. */
static ssize_t wrote(struct file *file, int fd, off_t from, ssize_t count, int synchronous) {
  if (count <= 0) return count;
  int before = errno;
  enum fate fate = HONEST;
  mark(file, from, count);
  if (synchronous || (fd_flags[fd] & O_DSYNC) != 0) {
    char below[PATH_MAX];
    fate = fate_of(fd, DSYNC, below);
    uint64_t blocks = fate == HONEST ? make_range_durable(file, fd, from, count) : 0;
    if (fate == HONEST && entry_with_file) record_own_entry(fd);
    trace(DSYNC, fate, below, blocks);
  }
  errno = fate == FAILED ? EIO : before;
  return fate == FAILED ? -1 : count;
}

static off_t position(int fd) { return lseek(fd, 0, SEEK_CUR); }

static off_t size_of(int fd) {
  struct stat now;
  return fstat(fd, &now) == 0 ? now.st_size : 0;
}

/* Marked before too: a process killed between the write and its mark must not hide it from a later sync. */
static void mark_ahead(struct file *file, int fd, off_t from, size_t length) {
  if ((fd_flags[fd] & O_APPEND) != 0) from = size_of(fd);
  mark(file, from, (off_t)length);
}

static size_t length_of(const struct iovec *parts, int count) {
  size_t length = 0;
  for (int at = 0; at < count; at++) length += parts[at].iov_len;
  return length;
}

EXPORT ssize_t write(int fd, const void *bytes, size_t length) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_write(fd, bytes, length);
  mark_ahead(file, fd, position(fd), length);
  ssize_t count = real_write(fd, bytes, length);
  return wrote(file, fd, position(fd) - count, count, 0);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int parts_count) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_writev(fd, parts, parts_count);
  mark_ahead(file, fd, position(fd), length_of(parts, parts_count));
  ssize_t count = real_writev(fd, parts, parts_count);
  return wrote(file, fd, position(fd) - count, count, 0);
}

/* On Linux a positional write to a descriptor with O_APPEND goes to the end all the same. */
static off_t landed_at(int fd, off_t from, ssize_t count) {
  return (fd_flags[fd] & O_APPEND) != 0 ? size_of(fd) - count : from;
}

EXPORT ssize_t pwrite(int fd, const void *bytes, size_t length, off_t from) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_pwrite(fd, bytes, length, from);
  mark_ahead(file, fd, from, length);
  ssize_t count = real_pwrite(fd, bytes, length, from);
  return wrote(file, fd, landed_at(fd, from, count), count, 0);
}

EXPORT ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t from) {
  return pwrite(fd, bytes, length, from);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int parts_count, off_t from) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_pwritev(fd, parts, parts_count, from);
  mark_ahead(file, fd, from, length_of(parts, parts_count));
  ssize_t count = real_pwritev(fd, parts, parts_count, from);
  return wrote(file, fd, landed_at(fd, from, count), count, 0);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int parts_count, off_t from) {
  return pwritev(fd, parts, parts_count, from);
}

EXPORT ssize_t pwritev2(int fd, const struct iovec *parts, int parts_count, off_t from, int how) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_pwritev2(fd, parts, parts_count, from, how);
  if (from != -1) mark_ahead(file, fd, from, length_of(parts, parts_count));
  ssize_t count = real_pwritev2(fd, parts, parts_count, from, how);
  off_t landed = from == -1 ? position(fd) - count : landed_at(fd, from, count);
  return wrote(file, fd, landed, count, (how & (RWF_DSYNC | RWF_SYNC)) != 0);
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *parts, int parts_count, off_t from, int how) {
  return pwritev2(fd, parts, parts_count, from, how);
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t length) {
  struct file *file = tracked(out);
  ssize_t count = real_sendfile(out, in, offset, length);
  if (file != NULL) count = wrote(file, out, position(out) - count, count, 0);
  return count;
}

EXPORT ssize_t sendfile64(int out, int in, off_t *offset, size_t length) {
  return sendfile(out, in, offset, length);
}

EXPORT ssize_t copy_file_range(int in, off_t *in_at, int out, off_t *out_at, size_t length,
                               unsigned flags) {
  struct file *file = tracked(out);
  ssize_t count = real_copy_file_range(in, in_at, out, out_at, length, flags);
  if (file != NULL) count = wrote(file, out, (out_at ? *out_at : position(out)) - count, count, 0);
  return count;
}

EXPORT int fallocate(int fd, int mode, off_t from, off_t length) {
  struct file *file = tracked(fd);
  int result = real_fallocate(fd, mode, from, length);
  if (file != NULL && result == 0) mark(file, from, length);
  return result;
}

EXPORT int fallocate64(int fd, int mode, off_t from, off_t length) {
  return fallocate(fd, mode, from, length);
}

EXPORT int posix_fallocate(int fd, off_t from, off_t length) {
  struct file *file = tracked(fd);
  int result = real_posix_fallocate(fd, from, length);
  if (file != NULL && result == 0) mark(file, from, length);
  return result;
}

EXPORT int posix_fallocate64(int fd, off_t from, off_t length) {
  return posix_fallocate(fd, from, length);
}

/* What was cut off is dirty: should the file grow again, a sync must bring the zeros. */
EXPORT int ftruncate(int fd, off_t length) {
  struct file *file = tracked(fd);
  if (file == NULL) return real_ftruncate(fd, length);
  off_t size = size_of(fd);
  mark(file, length, size - length);
  return real_ftruncate(fd, length);
}

EXPORT int ftruncate64(int fd, off_t length) { return ftruncate(fd, length); }

/* --- descriptors ------------------------------------------------------------------------------------------------ */

/* O_TRUNC cuts the file off before it can be seen here; its blocks are marked as ftruncate does. */
static int open_tracked(int at, const char *path, int flags, mode_t mode) {
  if (!ready()) return real_openat(at, path, flags, mode);
  struct stat before;
  int cuts = (flags & O_TRUNC) != 0 && fstatat(at, path, &before, 0) == 0;
  int fd = real_openat(at, path, flags, mode);
  opened(fd, flags);
  if (cuts && tracked(fd) != NULL) mark(tracked(fd), 0, before.st_size);
  return fd;
}

#define OPEN_MODE(flags)                                      \
  mode_t mode = 0;                                            \
  if (((flags) & O_CREAT) != 0 || ((flags) & O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                             \
    va_start(rest, flags);                                    \
    mode = va_arg(rest, mode_t);                              \
    va_end(rest);                                             \
  }

EXPORT int open(const char *path, int flags, ...) {
  OPEN_MODE(flags)
  return open_tracked(AT_FDCWD, path, flags, mode);
}
EXPORT int open64(const char *path, int flags, ...) {
  OPEN_MODE(flags)
  return open_tracked(AT_FDCWD, path, flags, mode);
}
EXPORT int openat(int at, const char *path, int flags, ...) {
  OPEN_MODE(flags)
  return open_tracked(at, path, flags, mode);
}
EXPORT int openat64(int at, const char *path, int flags, ...) {
  OPEN_MODE(flags)
  return open_tracked(at, path, flags, mode);
}
EXPORT int __open_2(const char *path, int flags) { return open_tracked(AT_FDCWD, path, flags, 0); }
EXPORT int __open64_2(const char *path, int flags) {
  return open_tracked(AT_FDCWD, path, flags, 0);
}
EXPORT int __openat_2(int at, const char *path, int flags) {
  return open_tracked(at, path, flags, 0);
}
EXPORT int __openat64_2(int at, const char *path, int flags) {
  return open_tracked(at, path, flags, 0);
}
EXPORT int creat(const char *path, mode_t mode) {
  return open_tracked(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
EXPORT int creat64(const char *path, mode_t mode) { return creat(path, mode); }

EXPORT int close(int fd) {
  if (ready() && is_ours(fd)) fd_file[fd] = NULL;
  return real_close(fd);
}

static int copied(int from, int to) {
  if (!active || from < 0 || from >= FDS_MAX || !is_ours(to)) return to;
  fd_flags[to] = fd_flags[from];
  fd_file[to] = fd_file[from];
  return to;
}

EXPORT int dup(int fd) {
  ready();
  return copied(fd, real_dup(fd));
}
EXPORT int dup2(int from, int to) {
  ready();
  return copied(from, real_dup2(from, to));
}
EXPORT int dup3(int from, int to, int flags) {
  ready();
  return copied(from, real_dup3(from, to, flags));
}

/* libuv makes some calls by number. io_uring would go past everything here, so it is said not to exist. */
EXPORT long syscall(long number, ...) {
  va_list rest;
  va_start(rest, number);
  long a = va_arg(rest, long), b = va_arg(rest, long), c = va_arg(rest, long);
  long d = va_arg(rest, long), e = va_arg(rest, long), f = va_arg(rest, long);
  va_end(rest);
  ready();
  if (active && number == SYS_io_uring_setup) {
    errno = ENOSYS;
    return -1;
  }
  /* libuv closes by number: a descriptor that is a socket next must not pass for the file that it was. */
  if (active && number == SYS_close) return close((int)a);
  if (active && number == SYS_copy_file_range)
    return copy_file_range((int)a, (off_t *)b, (int)c, (off_t *)d, (size_t)e, (unsigned)f);
  return real_syscall(number, a, b, c, d, e, f);
}
