import { itFindsPlantedBugs } from './found.js';

itFindsPlantedBugs(({ subject }) => ['clone', 'mirror', 'store'].includes(subject));
