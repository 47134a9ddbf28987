/** gpg, as a filter: encrypts for a recipient whose public key it has, decrypts with the secret key that it has. */
import { HelvinoError } from '../../base/errors.ts';
import { ChildProgram } from '../../streams/index.ts';

interface GpgContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

function gpg(args: readonly string[], { env, signal }: GpgContext): ChildProgram {
  return new ChildProgram({
    name: 'gpg',
    path: 'gpg',
    args: ['--batch', '--no-tty', '--quiet', ...args],
    env,
    signal,
    failure: 'KEY_WRONG',
  });
}

/**
 * The fingerprint of the one key that is meant. Throws KEY_MISSING when gpg, or the recipient's key, is not there, or when several
 * keys fit: gpg takes part of a name for the name, and would encrypt for the first it finds.
 */
export async function findRecipient(recipient: string, context: GpgContext): Promise<string> {
  // In brackets: exactly this address.
  const name = /^[^<>@\s]+@[^<>@\s]+$/.test(recipient) ? `<${recipient}>` : recipient;
  const run = gpg(['--with-colons', '--list-keys', '--', name], context);
  run.stdin.end();
  let usable: string[];
  try {
    usable = usableKeys(await run.text());
  } catch (cause) {
    throw new HelvinoError('KEY_MISSING', `gpg has no key of ${recipient}: ${(cause as Error).message}`, {
      cause,
      hint: 'install gnupg, and import the public key as this user: gpg --import FILE',
    });
  }
  if (usable.length > 1)
    throw new HelvinoError('KEY_MISSING', `${usable.length} keys of gpg fit "${recipient}"`, {
      hint: `name one by its fingerprint: ${usable.join(', ')}`,
    });
  if (usable.length === 1) return usable[0]!;
  throw new HelvinoError(
    'KEY_MISSING',
    `the key of ${recipient} has expired or was revoked, or cannot encrypt`,
    {
      hint: 'import a newer public key: gpg --import FILE',
    },
  );
}

/**
 * Fingerprints of keys that encrypt: not those that have expired, were revoked or disabled, or only sign (the capitals of field 12 tell
 * what the key can do as a whole). https://git.gnupg.org/cgi-bin/gitweb.cgi?p=gnupg.git;a=blob_plain;f=doc/DETAILS
 */
function usableKeys(listing: string): string[] {
  const found: string[] = [];
  let wanted = false;
  for (const line of listing.split('\n')) {
    const fields = line.split(':');
    if (fields[0] === 'pub') wanted = !/[ierd]/.test(fields[1] ?? '') && /E/.test(fields[11] ?? '');
    if (fields[0] === 'fpr' && wanted) {
      found.push(fields[9]!);
      wanted = false;
    }
  }
  return found;
}

/** `key`: a fingerprint. The recipient was named by the user: that is all the trust there is to ask for. What comes is compressed already. */
export function encryptFor(key: string, context: GpgContext): ChildProgram {
  return gpg(
    ['--trust-model', 'always', '--compress-algo', 'none', '--recipient', key, '--encrypt'],
    context,
  );
}

/** Ends with KEY_WRONG where no secret key fits, or the file was changed or cut. */
export function decryptFile(path: string, context: GpgContext): ChildProgram {
  const run = gpg(['--decrypt', '--', path], context);
  run.stdin.end();
  return run;
}
