/** Sequences go forward over the values that came back, never back. */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';
import type { Changing } from './change-rows.ts';

/** Up to so many steps are taken by nextval, which nobody else's nextval can interfere with. */
const steps = 1_000_000;

export async function advanceSequences(
  client: Client,
  { staged, pending }: Pick<Changing, 'staged' | 'pending'>,
): Promise<{ sequences: string[]; warnings: string[] }> {
  const sequences: string[] = [];
  const warnings: string[] = [];
  for (const one of staged) {
    if (pending.get(one)!.i === 0) continue;
    for (const [index, name] of one.changes.columns.entries()) {
      const column = one.table.columns.find((each) => each.name === name)!;
      const { sequence } = column;
      if (sequence === undefined || !/^(smallint|integer|bigint)$/.test(column.base)) continue;
      const [row] = await query<{ last: string | null }>(
        client,
        `select max(c${index})::text as last from pg_temp.hv_s_${one.number} where op = 'i'`,
      );
      if (row!.last === null) continue;
      const outcome = await advance(client, sequence, row!.last);
      if (outcome === 'advanced') sequences.push(sequence);
      if (outcome === 'denied')
        warnings.push(
          `the sequence ${sequence} is, or may be, behind the rows that came back, and the role may not see or set it: set it to ${row!.last} at least`,
        );
    }
  }
  return { sequences, warnings };
}

/** `last`: the greatest value that came back. Sequences that count down are left alone. */
async function advance(
  client: Client,
  sequence: string,
  last: string,
): Promise<'advanced' | 'ahead' | 'denied'> {
  const [may] = await query<Record<'see' | 'step' | 'set', boolean>>(
    client,
    `select has_sequence_privilege($1, 'select') as see, has_sequence_privilege($1, 'usage, update') as step,
       has_sequence_privilege($1, 'update') as set`,
    [sequence],
  );
  // An error would undo the rows.
  if (!may!.see) return 'denied';
  const [row] = await query<{ behind: string }>(
    client,
    `select case when s.seqincrement > 0 then ceil(($2::numeric - q.last_value + case when q.is_called then 0 else 1 end) / s.seqincrement)
       else 0 end::bigint::text as behind
     from ${sequence} q join pg_sequence s on s.seqrelid = $1::regclass`,
    [sequence, last],
  );
  const behind = BigInt(row!.behind);
  if (behind <= 0n) return 'ahead';
  if (behind > BigInt(steps) ? !may!.set : !may!.step) return 'denied';
  if (behind <= BigInt(steps))
    await query(client, `select count(nextval($1::regclass)) from generate_series(1, $2::bigint)`, [
      sequence,
      behind.toString(),
    ]);
  else
    await query(client, `select setval($1::regclass, greatest($2::bigint, last_value)) from ${sequence}`, [
      sequence,
      last,
    ]);
  return 'advanced';
}
