/** Where this Helvino can be had again, for the recovery kit. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** The address that a checkout was cloned from, without a password; undefined for a package, or a folder of this machine. */
export async function programSource(folder: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', folder, 'remote', 'get-url', 'origin']);
    return remoteAddress(stdout.trim());
  } catch {
    // no git, or no checkout
    return undefined;
  }
}

export function remoteAddress(url: string): string | undefined {
  if (/^[\w.-]+@[\w.-]+:(?!\/\/)\S+$/.test(url)) return url;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !['https:', 'ssh:', 'git:'].includes(parsed.protocol)) return undefined;
  parsed.password = '';
  if (parsed.protocol === 'https:') parsed.username = '';
  return parsed.href;
}
