/** Self-signed certificates for TLS tests, by the openssl program. */
import { execFile } from 'node:child_process';
import { chown } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { testServerUser } from './pg-server.ts';

/** Writes `server.crt` (for the DNS name localhost, its own authority) and `server.key` into a folder. */
export async function makeCertificate(folder: string): Promise<{ cert: string; key: string }> {
  const cert = join(folder, 'server.crt');
  const key = join(folder, 'server.key');
  const args = [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-days',
    '30',
    '-subj',
    '/CN=localhost',
    '-sha256',
  ];
  await promisify(execFile)('openssl', [
    ...args,
    '-addext',
    'subjectAltName=DNS:localhost',
    '-keyout',
    key,
    '-out',
    cert,
  ]);
  const user = await testServerUser();
  if (user) for (const path of [cert, key]) await chown(path, user.uid, user.gid);
  return { cert, key };
}
