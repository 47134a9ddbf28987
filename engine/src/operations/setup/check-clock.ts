/** Is the clock of this host right? It dates what is stored, and a store on S3 refuses requests of another time. */
import type { Clock } from '../../base/clock.ts';
import { formatDuration } from '../../base/format.ts';
import type { Repository } from '../../repository/index.ts';
import type { Finding } from './check-server.ts';

const tolerableMs = 30_000;

export async function checkClock({ driver }: Repository, clock: Clock): Promise<Finding> {
  const ahead = clock.now().getTime() - (await driver.now()).getTime();
  const by = formatDuration(Math.abs(ahead) / 1000);
  if (Math.abs(ahead) <= tolerableMs)
    return { name: 'clock', state: 'good', detail: `that of this host and that of the store agree` };
  return {
    name: 'clock',
    state: 'advice',
    detail: `this host is ${by} ${ahead > 0 ? 'ahead of' : 'behind'} the store`,
    hint: 'set the clock of this host (NTP): times in manifests and reports are by it',
  };
}
