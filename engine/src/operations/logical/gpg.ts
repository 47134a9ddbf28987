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

/** Throws KEY_MISSING when gpg, or the recipient's key, is not there. */
export async function assertRecipient(recipient: string, context: GpgContext): Promise<void> {
  const run = gpg(['--with-colons', '--list-keys', '--', recipient], context);
  run.stdin.end();
  try {
    // A key that has expired or was revoked encrypts nothing.
    const usable = (await run.text()).split('\n').some((line) => /^pub:[^ierd]?:/.test(line));
    if (usable) return;
  } catch (cause) {
    throw new HelvinoError('KEY_MISSING', `gpg has no key of ${recipient}: ${(cause as Error).message}`, {
      cause,
      hint: 'install gnupg, and import the public key as this user: gpg --import FILE',
    });
  }
  throw new HelvinoError('KEY_MISSING', `the key of ${recipient} has expired or was revoked`, {
    hint: 'import a newer public key: gpg --import FILE',
  });
}

/** The recipient was named by the user: that is all the trust there is to ask for. What comes is compressed already. */
export function encryptFor(recipient: string, context: GpgContext): ChildProgram {
  return gpg(
    ['--trust-model', 'always', '--compress-algo', 'none', '--recipient', recipient, '--encrypt'],
    context,
  );
}

/** Ends with KEY_WRONG where no secret key fits, or the file was changed or cut. */
export function decryptFile(path: string, context: GpgContext): ChildProgram {
  const run = gpg(['--decrypt', '--', path], context);
  run.stdin.end();
  return run;
}
