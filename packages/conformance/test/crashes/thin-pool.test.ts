import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('thin-pool', 70_000);
