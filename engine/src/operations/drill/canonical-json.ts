/**
 * One text for one value, so that a signature can be made over it: JSON without spaces, members in order of their names.
 * https://www.rfc-editor.org/rfc/rfc8785 (which also takes numbers and strings as ECMAScript writes them, as is done here)
 */
import { createHash } from 'node:crypto';
import { HelvinoError } from '../../base/errors.ts';

/** Members that are undefined are left out, as JSON.stringify does. Throws INTERNAL for what JSON cannot say. */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new HelvinoError('INTERNAL', `${value} is no number of JSON`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value))
    return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`);
    return `{${members.join(',')}}`;
  }
  throw new HelvinoError('INTERNAL', `a ${typeof value} is no value of JSON`);
}

export function sha256(bytes: string | Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
