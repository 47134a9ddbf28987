/** Which names objects may have. Every driver checks, so that what one store takes every store takes. */
import { HelvinoError } from '../base/errors.ts';
import type { ByteRange } from './driver.ts';

/** The limit of S3 keys; a part is at most what file systems take. */
const longestName = 1024;
const longestPart = 255;
/** Where the file system driver writes before an object exists. */
export const temporaryFolder = '.tmp';

/** Whether `name` may be an object's name. */
export function isObjectName(name: string): boolean {
  const parts = name.split('/');
  return name.length <= longestName && parts[0] !== temporaryFolder && parts.every(isPart);
}

/** Throws INTERNAL for a name that no object may have: such a name was made by a bug, never by a user. */
export function assertObjectName(name: string): void {
  if (isObjectName(name)) return;
  throw new HelvinoError('INTERNAL', `${shown(name)} is not a valid object name`, {
    hint: 'this is a bug in Helvino; names are parts of A-Z a-z 0-9 . _ - joined by /; please report it',
    context: { name: shown(name) },
  });
}

/** Whole parts before the last `/`, and any beginning of a part after it. */
export function assertPrefix(prefix: string): void {
  const parts = prefix.split('/');
  const last = parts.pop() ?? '';
  if (prefix.length <= longestName && parts.every(isPart) && /^[A-Za-z0-9._-]*$/.test(last)) return;
  throw new HelvinoError('INTERNAL', `${shown(prefix)} is not a valid prefix of object names`, {
    context: { prefix: shown(prefix) },
  });
}

/** Checks what `get` was given, before the store is asked. */
export function assertRange(name: string, range: ByteRange | undefined, into: Uint8Array | undefined): void {
  if (range === undefined) return;
  const whole = Number.isSafeInteger(range.offset) && Number.isSafeInteger(range.length);
  if (!whole || range.offset < 0 || range.length < 0) {
    throw new HelvinoError('INTERNAL', `${range.length} bytes at ${range.offset} of ${name} is not a range`, {
      context: { name, ...range },
    });
  }
  if (into !== undefined) assertFits(name, range.length, into);
}

/** Throws INTERNAL when `length` bytes do not fit in the buffer that the caller gave. */
export function assertFits(name: string, length: number, into: Uint8Array): void {
  if (length <= into.length) return;
  throw new HelvinoError(
    'INTERNAL',
    `${length} bytes of ${name} were asked for in a buffer of ${into.length}`,
    {
      context: { name, length, buffer: into.length },
    },
  );
}

/** `.nfs…` is how NFS clients name a file that was removed while it was open. */
function isPart(part: string): boolean {
  return (
    /^[A-Za-z0-9._-]+$/.test(part) &&
    part.length <= longestPart &&
    part !== '.' &&
    part !== '..' &&
    !part.startsWith('.nfs')
  );
}

function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}
