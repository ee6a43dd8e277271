import { itSurvivesCrashes } from './explored.js';

itSurvivesCrashes('thin-metadata', 70_000);
