/** What an errno of the file system means for a store, and what the user can do about it. */
import type { ErrorCode } from '../base/error-codes.ts';
import { HelvinoError, systemCode } from '../base/errors.ts';

const denied =
  'give the user that runs helvino read and write access to this folder, and check that it is not mounted read-only';
const full = 'free space there or raise the quota; nothing half-written was left behind';
const broken = 'check the disk (dmesg, smartctl) and the mount, then try again';
const away = 'check that the file system is mounted and its server answers, then try again';
const descriptors = 'raise the limit of open files (ulimit -n)';

const meanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: [
    'STORAGE_NOT_FOUND',
    'list the repository to see what is there; if an object vanished, run helvino verify',
  ],
  // None of these is STORAGE_EXISTS: no object is there that could be relied on.
  EEXIST: ['STORAGE_DENIED', 'something else stands in the way, which helvino did not store; move it away'],
  ENOTDIR: [
    'STORAGE_DENIED',
    'a file stands where a folder is needed; this is not how helvino stores things, move it away',
  ],
  EISDIR: [
    'STORAGE_DENIED',
    'a folder stands where a file is needed; this is not how helvino stores things, move it away',
  ],
  ENOTEMPTY: [
    'STORAGE_DENIED',
    'a folder stands where a file is needed; this is not how helvino stores things, move it away',
  ],
  EACCES: ['STORAGE_DENIED', denied],
  EPERM: ['STORAGE_DENIED', denied],
  EROFS: ['STORAGE_DENIED', denied],
  ELOOP: [
    'STORAGE_DENIED',
    'symbolic links are not followed inside a store; mount or move the folder itself',
  ],
  EXDEV: ['STORAGE_DENIED', 'keep the whole store on one file system'],
  ENOSPC: ['STORAGE_FULL', full],
  EDQUOT: ['STORAGE_FULL', full],
  ESTALE: ['STORAGE_UNAVAILABLE', away],
  ETIMEDOUT: ['STORAGE_UNAVAILABLE', away],
  ENOTCONN: ['STORAGE_UNAVAILABLE', away],
  EHOSTDOWN: ['STORAGE_UNAVAILABLE', away],
  ECONNREFUSED: ['STORAGE_UNAVAILABLE', away],
  ENODEV: ['STORAGE_UNAVAILABLE', away],
  EAGAIN: ['STORAGE_UNAVAILABLE', away],
  EBUSY: ['STORAGE_UNAVAILABLE', away],
  EMFILE: ['STORAGE_UNAVAILABLE', descriptors],
  ENFILE: ['STORAGE_UNAVAILABLE', descriptors],
  EFBIG: ['STORAGE_IO', 'the file system or ulimit -f does not allow files of this size'],
};

/** `doing`: `write`, `read` …; `name`: the object; `place`: the store's root. Our own errors pass through. */
export function fsError(thrown: unknown, doing: string, name: string, place: string): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  const errno = systemCode(thrown);
  const [code, hint] =
    (errno === undefined ? undefined : meanings[errno]) ?? (['STORAGE_IO', broken] as const);
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new HelvinoError(code, `cannot ${doing} ${name} in ${place}: ${reason}`, {
    hint,
    cause: thrown,
    context: { name, place, errno },
  });
}

/** The store's folder is not the one that was opened: what it says about objects means nothing. */
export function rootIsAway(place: string): HelvinoError {
  return new HelvinoError('STORAGE_UNAVAILABLE', `${place} is gone or is not the folder that was opened`, {
    hint: 'a disk was probably unmounted; mount it again, then run helvino again (restart helvino serve)',
    context: { place },
  });
}
