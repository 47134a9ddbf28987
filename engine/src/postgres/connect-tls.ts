/**
 * TLS as sslmode asks for it: https://www.postgresql.org/docs/current/libpq-ssl.html. An authority file that is there is
 * used for verification whatever the mode, as in libpq.
 */
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { type ConnectionOptions, getCACertificates } from 'node:tls';
import { HelvinoError, systemCode } from '../base/errors.ts';
import type { HostParams, TlsParams } from './conninfo.ts';

/** Options for `tls.connect` over an open socket. Throws SERVER_TLS when a file cannot be used. */
export async function tlsOptions(tls: TlsParams, { host }: HostParams): Promise<ConnectionOptions> {
  const verify = tls.rootCert !== undefined;
  const [ca, cert, key, crl] = await Promise.all([
    authorities(tls.rootCert),
    tls.cert && readFile(tls.cert),
    tls.key && privateKey(tls.key),
    tls.revocations && readFile(tls.revocations),
  ]).catch((thrown: unknown) => {
    if (thrown instanceof HelvinoError) throw thrown;
    throw new HelvinoError('SERVER_TLS', `a certificate file cannot be read: ${(thrown as Error).message}`, {
      cause: thrown,
    });
  });
  return {
    host,
    // an address may not be sent as server name (RFC 6066)
    servername: tls.serverName && isIP(host) === 0 ? host : undefined,
    ca,
    cert: cert || undefined,
    key: key || undefined,
    crl: crl || undefined,
    passphrase: tls.keyPassword,
    minVersion: tls.minVersion,
    maxVersion: tls.maxVersion,
    ALPNProtocols: ['postgresql'],
    rejectUnauthorized: verify,
    ...(tls.mode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
  };
}

async function authorities(rootCert: string | undefined): Promise<string[] | Buffer | undefined> {
  if (rootCert === undefined) return undefined;
  if (rootCert !== 'system') return readFile(rootCert);
  const system = getCACertificates('system');
  return system.length > 0 ? system : getCACertificates('bundled');
}

/** As libpq, refuses a key that others may read; one that belongs to root may be readable by its group. */
async function privateKey(path: string): Promise<Buffer> {
  const { mode, uid } = await stat(path);
  const forbidden = uid === 0 && process.getuid?.() !== 0 ? 0o037 : 0o077;
  if (process.platform !== 'win32' && (mode & forbidden) !== 0) {
    throw new HelvinoError('SERVER_TLS', `others may read the private key ${path}`, {
      hint: `chmod 600 ${path}`,
    });
  }
  return readFile(path);
}

export function tlsError(thrown: unknown, place: string): HelvinoError {
  const code = systemCode(thrown) ?? '';
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  const name = code === 'ERR_TLS_CERT_ALTNAME_INVALID';
  const hint = name
    ? 'connect by a name that the certificate has, or use sslmode=verify-ca'
    : 'give the authority that signed the server certificate with sslrootcert, or a weaker sslmode';
  return new HelvinoError('SERVER_TLS', `TLS with ${place} failed: ${reason}`, {
    hint,
    cause: thrown,
    context: { place, tls: code },
  });
}
