/** `npm run migrate`: applies prisma/migrations. `--check` changes nothing and ends with status 1 if something is missing. */
import { parseArgs } from 'node:util';
import { applyMigrations, readMigrations, schemaState, whyNotCurrent } from './migrations.ts';
import { run, say, withClient } from './script.ts';

await run(async () => {
  const { values } = parseArgs({
    options: { check: { type: 'boolean', default: false }, folder: { type: 'string' } },
  });
  const migrations = await readMigrations(values.folder);
  await withClient(async (client) => {
    if (values.check) {
      const state = await schemaState(client, migrations);
      if (!state.current) throw new Error(whyNotCurrent(state).join('; '));
      say(`the schema is current: ${state.applied.length} migrations`);
      return;
    }
    const applied = await applyMigrations(client, migrations);
    for (const name of applied) say(`applied ${name}`);
    say(`the schema is current: ${migrations.length} migrations, ${applied.length} of them new`);
  });
});
