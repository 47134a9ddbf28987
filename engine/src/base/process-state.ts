/** Whether a process of this host still does anything. */
import { readFileSync } from 'node:fs';
import { systemCode } from './errors.ts';

/** True also of one that was killed and that its parent has not waited for: it has a number, and nothing more. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    return systemCode(thrown) === 'ESRCH';
  }
  return ['Z', 'X'].includes(processFields(pid)?.[0] ?? '');
}

/** The fields of /proc/<pid>/stat from the third on, which is the state, proc(5). Undefined where there is no such file. */
export function processFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses and may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}
