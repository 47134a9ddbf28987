/** Whose files the restored ones become. Only root can give files away; anyone else restores for himself. */
import { readFile } from 'node:fs/promises';
import { HelvinoError } from '../../base/errors.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Undefined: leave it to the system (the restoring user). As root: `wanted` (`user`, `user:group`, or numbers), else the
 * system's user `postgres` if there is one, else the numbers in the backup (`recorded`).
 */
export async function chooseOwner(wanted: string | undefined): Promise<Owner | 'recorded' | undefined> {
  if (process.getuid?.() !== 0) {
    if (wanted === undefined) return undefined;
    throw new HelvinoError('TARGET_DENIED', 'only root can restore for another owner', {
      hint: 'run as root, or leave out --owner',
    });
  }
  if (wanted !== undefined) return lookUp(wanted);
  return (await userNamed('postgres')) ?? 'recorded';
}

async function lookUp(wanted: string): Promise<Owner> {
  const [user = '', group, ...more] = wanted.split(':');
  if (more.length > 0)
    throw new HelvinoError('USAGE', `"${wanted}" is not of the form user or user:group`, { hint: ownerHint });
  const uid = idFrom(user);
  const byName = uid === undefined ? await userNamed(user) : { uid, gid: uid };
  if (byName === undefined) {
    throw new HelvinoError('USAGE', `there is no user "${user}" on this machine`, {
      hint: ownerHint,
    });
  }
  if (group === undefined) return byName;
  const gid = idFrom(group) ?? (await groupNamed(group));
  if (gid === undefined) throw new HelvinoError('USAGE', `there is no group "${group}" on this machine`);
  return { uid: byName.uid, gid };
}

const ownerHint = 'give a user of this machine, or a number';
/** Of 32 bits all but the last, which means: leave it as it is. */
const largestId = 0xffff_fffe;

/** Undefined for a name. */
function idFrom(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id <= largestId) return id;
  throw new HelvinoError('USAGE', `${text} is no id of a user or group: they go to ${largestId}`, {
    hint: ownerHint,
  });
}

async function userNamed(name: string): Promise<Owner | undefined> {
  const fields = await entry('/etc/passwd', name);
  return fields && { uid: Number(fields[2]), gid: Number(fields[3]) };
}

async function groupNamed(name: string): Promise<number | undefined> {
  const fields = await entry('/etc/group', name);
  return fields && Number(fields[2]);
}

async function entry(file: string, name: string): Promise<string[] | undefined> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return text
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name);
}
