/**
 * The key that signs reports of drills: Ed25519, a PKCS#8 PEM file beside helvino.yaml (mode 0600), never in the repository.
 * Its public half is kept in the repository, and is what an auditor gets. https://www.rfc-editor.org/rfc/rfc8410
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HelvinoError, systemCode } from '../../../base/errors.ts';
import { sha256 } from '../canonical-json.ts';

export interface PublicKey {
  /** SHA-256 of the key in DER (SubjectPublicKeyInfo), hexadecimal: what people compare. */
  readonly id: string;
  /** SubjectPublicKeyInfo, PEM. */
  readonly pem: string;
}

export interface SigningKey extends PublicKey {
  /** 64 bytes over exactly these bytes. https://www.rfc-editor.org/rfc/rfc8032 */
  sign(bytes: Uint8Array): Buffer;
}

/** Beside the configuration. */
export function signingKeyFile(configFile: string): string {
  return join(dirname(configFile), 'helvino.drill.key');
}

/** Nothing is overwritten. Throws KEY_MISSING when the file cannot be written. */
export async function createSigningKey(file: string): Promise<SigningKey> {
  const { privateKey } = generateKeyPairSync('ed25519');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
  try {
    await writeFile(file, pem, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new HelvinoError('KEY_MISSING', `${file} cannot be written: ${(cause as Error).message}`, {
      cause,
      hint: 'choose a folder that this user may write to; a key that exists is never overwritten',
    });
  }
  return signingKey(privateKey);
}

/** Undefined when there is none. Throws KEY_MISSING when it cannot be read, KEY_WRONG when it is no such key. */
export async function readSigningKey(file: string): Promise<SigningKey | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return undefined;
    throw new HelvinoError(
      'KEY_MISSING',
      `the signing key ${file} cannot be read: ${(cause as Error).message}`,
      { cause, hint: 'check who may read it: reports of drills are signed with it' },
    );
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch {
    throw wrongKey(`${file} is no private key in PEM`);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw wrongKey(`${file} is no Ed25519 key`);
  return signingKey(key);
}

function signingKey(key: KeyObject): SigningKey {
  return { ...describe(createPublicKey(key)), sign: (bytes) => sign(null, bytes, key) };
}

function describe(key: KeyObject): PublicKey {
  return {
    id: sha256(key.export({ type: 'spki', format: 'der' })),
    pem: key.export({ type: 'spki', format: 'pem' }).toString(),
  };
}

/** From PEM. Throws KEY_WRONG. */
export function readPublicKey(pem: string, place: string): PublicKey {
  if (/PRIVATE KEY/.test(pem))
    throw wrongKey(`${place} is a private key: give the public one, which \`helvino drill key\` prints`);
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    throw wrongKey(`${place} is no public key in PEM`);
  }
  if (key.asymmetricKeyType !== 'ed25519') throw wrongKey(`${place} is no Ed25519 key`);
  return describe(key);
}

export function isSignedBy({ pem }: PublicKey, bytes: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && verify(null, bytes, pem, signature);
}

function wrongKey(message: string): HelvinoError {
  return new HelvinoError('KEY_WRONG', message, {
    hint: 'a public key of reports begins with -----BEGIN PUBLIC KEY-----',
  });
}
