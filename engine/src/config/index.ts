/**
 * Configuration: `helvino.yaml`, read by one schema with defaults, and the environment. Invariants: this folder is the only
 * reader of environment variables; secrets are never in the file, only the name of a variable or of a file that has them;
 * what is wrong is reported with its place in the file.
 */

export { secretIn } from './connection-secret.ts';
export type { DrillPlan } from './drills.ts';
export { addDatabase, addRepository, newConfigText, setRecipients } from './edit.ts';
export { type Environment, environmentVariables } from './env.ts';
export {
  type ChosenDatabase,
  chooseDatabase,
  choosePlan,
  drillPlans,
  type LoadedConfig,
  loadConfig,
  parseConfig as parseConfigText,
} from './load.ts';
export {
  type Config,
  configSchema,
  type DatabaseConfig,
  type RepositoryConfig,
  slotPattern,
  slotRule,
} from './schema.ts';
export { readSecret, type SecretSource } from './secret.ts';
export { parseStorage, type StorageInput, withDefaults } from './storage.ts';
export { parseDuration, parseSize } from './units.ts';
export { configWarnings, showableConfig } from './warnings.ts';
