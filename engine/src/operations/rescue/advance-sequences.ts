/** Sequences go forward over the values that came back, never back. */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';
import type { Changing } from './change-rows.ts';

interface State {
  /** Undefined values: the role may not. */
  readonly may: boolean;
  readonly last: string | null;
  readonly called: boolean;
  readonly increment: string;
  readonly behind: string;
}

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
      if (column.sequence === undefined || !/^(smallint|integer|bigint)$/.test(column.base)) continue;
      const state = await stateOf(client, {
        sequence: column.sequence,
        rows: `pg_temp.hv_s_${one.number}`,
        column: `c${index}`,
      });
      if (state === undefined || BigInt(state.behind) <= 0n) continue;
      if (!state.may) {
        warnings.push(
          `the sequence ${column.sequence} is behind the rows that came back, and the role may not set it`,
        );
        continue;
      }
      if (BigInt(state.behind) <= BigInt(steps))
        await query(client, `select count(nextval($1::regclass)) from generate_series(1, $2::bigint)`, [
          column.sequence,
          state.behind,
        ]);
      else
        await query(
          client,
          `select setval($1::regclass, greatest($2::bigint, last_value)) from ${column.sequence}`,
          [column.sequence, state.last],
        );
      sequences.push(column.sequence);
    }
  }
  return { sequences, warnings };
}

/** How many steps the sequence is behind the rows; undefined when there is no value. Those that count down are left alone. */
async function stateOf(
  client: Client,
  { sequence, rows, column }: { sequence: string; rows: string; column: string },
): Promise<State | undefined> {
  const [row] = await query<State>(
    client,
    `select has_sequence_privilege($1, 'update') and has_sequence_privilege($1, 'usage') as may, x.last::text as last, q.is_called as called,
       s.increment_by::text as increment,
       case when s.increment_by > 0 then ceil((x.last - q.last_value + case when q.is_called then 0 else 1 end) / s.increment_by::numeric)
         else 0 end::bigint::text as behind
     from (select max(${column})::bigint as last from ${rows} where op = 'i') x cross join ${sequence} q
     join pg_sequences s on format('%I.%I', s.schemaname, s.sequencename) = $1
     where x.last is not null`,
    [sequence],
  );
  return row;
}
