/** Helvino's API. Starts without its database, too: `/health` then says that it is away. */
import { buildApp } from './app.ts';
import { readConfig } from './config.ts';
import { run } from './script.ts';

await run(async () => {
  const config = readConfig();
  const app = await buildApp(config);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close());
  await app.listen({ host: config.host, port: config.port });
});
