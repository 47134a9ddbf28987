/**
 * Proofs: what the drills of a backup say of it now. Invariant: "proven" expires, by age, and when what was proven is no
 * longer what there is. Of a report only its words are needed here: a list of backups writes none.
 */
export { CurrentFacts } from './current-facts.ts';
export { type ProofState, proofState, proofText, staleBecause, standingProof } from './proof-state.ts';
