import { itFindsPlantedBugs } from './found.js';

itFindsPlantedBugs(({ subject }) => ['clone', 'mirror'].includes(subject));
