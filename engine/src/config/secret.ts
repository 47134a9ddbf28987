/** Secrets come from an environment variable or from a file, never from helvino.yaml itself. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import type { Environment } from './env.ts';

export const secret = z
  .union([z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })])
  .describe('Where a secret is: `{ env: NAME }`, an environment variable, or `{ file: PATH }`, a file.');

export type SecretSource = { readonly env: string } | { readonly file: string };

/** `directory`: what a file name is relative to. Throws KEY_MISSING, which names the place and never the value. */
export async function readSecret(
  source: SecretSource,
  { env, directory, what }: { env: Environment; directory: string; what: string },
): Promise<{ text: string; place: string }> {
  if ('env' in source) {
    const text = env[source.env];
    if (text) return { text, place: `the variable ${source.env}` };
    throw new HelvinoError(
      'KEY_MISSING',
      `${what} is to come from the environment variable ${source.env}, which is not set`,
      {
        hint: `set ${source.env}, or change helvino.yaml`,
      },
    );
  }
  const place = resolve(directory, source.file);
  try {
    return { text: await readFile(place, 'utf8'), place };
  } catch (cause) {
    throw new HelvinoError(
      'KEY_MISSING',
      `${what} cannot be read from ${place}: ${(cause as Error).message}`,
      {
        cause,
        hint: 'check that the file is there and that this user may read it',
      },
    );
  }
}
