/** Errors that say: what is stored is not what was written. */
import { HelvinoError } from '../base/errors.ts';

const codes: readonly string[] = ['REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND', 'STORAGE_SHORT_READ'];

export function isDamage(thrown: unknown): thrown is HelvinoError {
  return thrown instanceof HelvinoError && codes.includes(thrown.code);
}

/** The object that is damaged or missing; `otherwise` when the error is of damage and names none. */
export function objectOfDamage(error: HelvinoError, otherwise: string): string | undefined {
  if (!isDamage(error)) return undefined;
  const { object, name } = error.context;
  return String(object ?? name ?? otherwise);
}
