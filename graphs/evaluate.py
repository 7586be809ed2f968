"""`foretell graphs evaluate`: a saved model on the steps of a graph, beside the baselines."""

import dataclasses
import logging

import torch

from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory
from graphs.config import EvaluateConfig, TrainConfig
from graphs.data.readers import read_graph
from graphs.network import GraphNetwork
from graphs.problem import Problem, check_fits, pose
from graphs.saved_model import trained_config
from graphs.train import score

_log = logging.getLogger(__name__)


def run(config: EvaluateConfig, options: RunOptions) -> None:
    """Score the parts and protocols that are asked for.

    Raises:
        UserError: No model, missing or broken data, data that the model cannot read.
    """
    trained, network = load(config.model)
    torch.set_num_threads(config.threads)
    trained = dataclasses.replace(trained, data=config.data, split=config.split, eval=config.eval)
    problem = fitting_problem(trained, network, config.model)
    run_directory = RunDirectory.create("graphs-evaluate", config, options)
    score({trained.who: network}, trained, problem, run_directory, options, notes={})


def load(directory: str) -> tuple[TrainConfig, GraphNetwork]:
    """The configuration and the network of a saved model.

    Raises:
        UserError: No folder was given, or there is no model in it.
    """
    if not directory:
        raise UserError("--model is empty: give the folder of a saved model, such as RUN/model")
    trained = trained_config(directory)
    network, report = GraphNetwork.load(directory)
    _log.info("weights of %s: %s", directory, report)
    return trained, network


def fitting_problem(trained: TrainConfig, network: GraphNetwork, directory: str) -> Problem:
    """The problem on the configuration's data, with the sizes of the saved network.

    Raises:
        UserError: The data have other columns or classes than the model.
    """
    sequence = read_graph(trained.data)
    check_fits(network.config, sequence, directory)
    problem = pose(trained, sequence)
    classes = network.config.num_classes
    if problem.network.num_classes > classes:
        raise UserError(
            f"{directory} knows {classes} classes, {sequence.name} has "
            f"{problem.network.num_classes}: give data of the kind it was trained on"
        )
    return dataclasses.replace(problem, network=network.config)
