/**
 * The one table of error codes. Each row is the contract of a code: its exit status, its HTTP status, whether trying
 * again can help, and what it means. `docs/reference/errors.md` is generated from it.
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
}

export const errorCodes = {
  USAGE: { exit: 64, http: 400, retry: false, meaning: 'A command-line argument is missing, unknown or malformed.' },
  CONFIG_INVALID: { exit: 78, http: 400, retry: false, meaning: 'helvino.yaml, or a value that it names, is not valid.' },
  CONFIG_NOT_FOUND: { exit: 78, http: 404, retry: false, meaning: 'No helvino.yaml was found where one is needed.' },
  CONFIRMATION_NEEDED: { exit: 64, http: 409, retry: false, meaning: 'The action destroys something and was not confirmed.' },
  INTERNAL: { exit: 70, http: 500, retry: false, meaning: 'Helvino itself is wrong: a bug. Please report it with the context shown.' },
  INTERRUPTED: { exit: 130, http: 499, retry: true, meaning: 'The run was stopped by a signal. What was stored before stays valid.' },
  CHECK_FAILED: { exit: 1, http: 200, retry: false, meaning: 'The check ran to its end and its verdict is not good.' },

  STORAGE_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'An object that is needed is not in the store.' },
  STORAGE_EXISTS: { exit: 73, http: 409, retry: false, meaning: 'An object of this name exists; nothing is overwritten.' },
  STORAGE_DENIED: { exit: 77, http: 403, retry: false, meaning: 'The store refused access.' },
  STORAGE_FULL: { exit: 74, http: 507, retry: true, meaning: 'No space (or quota) is left where the store writes.' },
  STORAGE_UNAVAILABLE: { exit: 75, http: 503, retry: true, meaning: 'The store did not answer, or broke off.' },
  STORAGE_SHORT_READ: { exit: 65, http: 500, retry: false, meaning: 'An object is shorter than the range that was asked for.' },
  STORAGE_ARCHIVED: { exit: 75, http: 409, retry: false, meaning: 'The object is in an archive class and must be asked for before it can be read.' },
  STORAGE_IO: { exit: 74, http: 500, retry: true, meaning: 'Reading or writing failed in the store.' },

  REPOSITORY_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'There is no repository at this place.' },
  REPOSITORY_EXISTS: { exit: 73, http: 409, retry: false, meaning: 'A repository is already at this place.' },
  REPOSITORY_TOO_NEW: { exit: 78, http: 409, retry: false, meaning: 'The repository was written by a newer format than this program reads.' },
  REPOSITORY_DAMAGED: { exit: 65, http: 500, retry: false, meaning: 'An object of the repository is damaged: it was changed after it was written.' },
  REPOSITORY_BUSY: { exit: 75, http: 409, retry: true, meaning: 'Another run holds a lease that excludes this one.' },
  WAL_CONFLICT: { exit: 73, http: 409, retry: false, meaning: 'WAL of this name is stored with other content; nothing was overwritten.' },
  BACKUP_NOT_FOUND: { exit: 66, http: 404, retry: false, meaning: 'No such backup.' },
  BACKUP_HELD: { exit: 73, http: 409, retry: false, meaning: 'The backup is held: someone said that it must not go.' },
  PLAN_CHANGED: { exit: 75, http: 409, retry: false, meaning: 'What would be done is no longer what was shown: nothing was done.' },
  PLAN_INVALID: { exit: 65, http: 409, retry: false, meaning: 'A file of `helvino rescue` is damaged or none, or what it says cannot be applied as it is.' },
  EXPORT_INVALID: { exit: 65, http: 409, retry: false, meaning: 'The folder is no export of an organization, or it is damaged.' },
  IMPORT_CONFLICT: { exit: 73, http: 409, retry: false, meaning: 'The database cannot take the organization as it is: tables are missing, or others have its keys.' },
  BACKUP_EXPIRED_LEASE: { exit: 75, http: 409, retry: true, meaning: 'The run lost its lease, so its backup was not committed.' },
  KEY_MISSING: { exit: 77, http: 403, retry: false, meaning: 'A key that is needed was not given.' },
  KEY_WRONG: { exit: 77, http: 403, retry: false, meaning: 'The key or identity given does not open this repository, or this export.' },

  SERVER_UNREACHABLE: { exit: 69, http: 503, retry: true, meaning: 'The PostgreSQL server could not be reached.' },
  SERVER_AUTH: { exit: 77, http: 403, retry: false, meaning: 'The PostgreSQL server refused the login, or the role lacks a right.' },
  SERVER_TLS: { exit: 77, http: 403, retry: false, meaning: 'TLS to the PostgreSQL server could not be set up as asked.' },
  SERVER_VERSION: { exit: 69, http: 409, retry: false, meaning: 'This PostgreSQL version is not supported for this action.' },
  SERVER_SETTING: { exit: 78, http: 409, retry: false, meaning: 'A setting of the PostgreSQL server prevents this action.' },
  SERVER_GONE: { exit: 75, http: 503, retry: true, meaning: 'The connection to the PostgreSQL server broke during the work.' },
  SLOT_LOST: { exit: 75, http: 503, retry: true, meaning: 'The replication slot of a stream was lost or dropped while the stream ran.' },
  SERVER_ERROR: { exit: 69, http: 502, retry: false, meaning: 'The PostgreSQL server reported an error.' },
  SERVER_CORRUPT: { exit: 65, http: 409, retry: false, meaning: 'The source has pages whose checksum is wrong.' },
  SERVER_WRONG_CLUSTER: { exit: 65, http: 409, retry: false, meaning: 'The server is not the cluster that this database has been: its system identifier differs.' },
  SOURCE_UNREADABLE: { exit: 77, http: 403, retry: false, meaning: "Files of the server's data directory, which a backup is to read itself, cannot be read here." },
  PROTOCOL: { exit: 76, http: 502, retry: false, meaning: 'Bytes that were received do not follow the protocol or format.' },

  TARGET_UNREACHABLE: { exit: 66, http: 409, retry: false, meaning: 'The recovery target cannot be reached with what is stored.' },
  TARGET_NOT_EMPTY: { exit: 73, http: 409, retry: false, meaning: 'The directory to restore into is not empty.' },
  TARGET_IN_USE: { exit: 73, http: 409, retry: false, meaning: 'A running PostgreSQL server uses the directory.' },
  TARGET_TOO_SMALL: { exit: 74, http: 507, retry: false, meaning: 'The disk has too little free space for what would be written.' },
  TARGET_DENIED: { exit: 77, http: 403, retry: false, meaning: 'The directory cannot be written with the rights of this user.' },
  TARGET_IO: { exit: 74, http: 500, retry: true, meaning: 'Reading or writing failed in the target directory.' },

  BINARIES_NOT_FOUND: { exit: 69, http: 503, retry: false, meaning: 'A program that is needed was not found or could not be fetched: a PostgreSQL server of the right major version, or Chromium for a PDF.' },
  ENGINE: { exit: 69, http: 502, retry: true, meaning: 'The Docker engine could not be reached, or did not do what was asked.' },
  LOCAL_SERVER: { exit: 69, http: 500, retry: false, meaning: 'A PostgreSQL server that Helvino started did not start, or stopped.' },
} as const satisfies Record<string, ErrorCodeFacts>;

export type ErrorCode = keyof typeof errorCodes;
