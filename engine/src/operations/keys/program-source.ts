/** Where this Helvino can be had again, for the recovery kit. */
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { promisify } from 'node:util';

/**
 * The address that a checkout was cloned from, without secrets; undefined for a package, also one within somebody's own checkout,
 * and for a folder of this machine. `file`: one of the program's own.
 */
export async function programSource(file: string): Promise<string | undefined> {
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', ['-C', dirname(file), ...args])).stdout.trim();
  try {
    await git('ls-files', '--error-unmatch', file);
    return remoteAddress(await git('remote', 'get-url', 'origin'));
  } catch {
    // no git, or no checkout
    return undefined;
  }
}

export function remoteAddress(url: string): string | undefined {
  if (/^\w[\w.-]*@[\w.-]+:(?!\/\/)\S+$/.test(url)) return url;
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (!parsed || !['https:', 'ssh:', 'git:'].includes(parsed.protocol)) return undefined;
  parsed.password = '';
  parsed.search = '';
  parsed.hash = '';
  if (parsed.protocol === 'https:') parsed.username = '';
  return parsed.href;
}
