/** What the notes of a run hold. */
import * as z from 'zod';

export const beginSchema = z.object({
  /** By the host's clock; ISO 8601, UTC. */
  at: z.string(),
  holder: z.object({ place: z.string(), pid: z.number().int() }),
  program: z.string(),
});

export const failureSchema = z.object({
  at: z.string(),
  /** An error code of Helvino. */
  code: z.string(),
  message: z.string(),
});

export const stoppedSchema = z.object({
  /** Where the Docker engine is, as DOCKER_HOST has it. */
  engine: z.string(),
  containers: z.array(
    z.object({
      id: z.string(),
      name: z.string(),
      /** When it had been started, as the engine says: another time then means that someone has started it since. */
      startedAt: z.string(),
    }),
  ),
});

export type StoppedContainers = z.infer<typeof stoppedSchema>;
