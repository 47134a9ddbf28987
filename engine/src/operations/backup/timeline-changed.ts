import { HelvinoError } from '../../base/errors.ts';

/** A backup is of one timeline: what came before a promotion and what came after it do not make one. */
export function timelineChanged(message: string): HelvinoError {
  return new HelvinoError('SERVER_ERROR', message, {
    hint: 'run the backup again; nothing was kept of this one',
  });
}
