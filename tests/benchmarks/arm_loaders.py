"""(a) and (b): one network after the other, fed by a DataLoader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from bnsweep.config.run import RunConfig
from bnsweep.nets.plain import build
from tests.benchmarks.arm import Arm
from tests.benchmarks.work import BATCH, Work


def make_optimizer(config: RunConfig, model: nn.Module, **how: bool) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if config.optimizer.name == "adam" else torch.optim.SGD
    trained = [p for p in model.parameters() if p.requires_grad]
    return kind(trained, lr=config.lr.value, **how)


def plain(model: nn.Module, config: RunConfig) -> nn.Sequential:
    """A copy of a trained network, on the CPU."""
    copy = build(config)
    copy.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    return copy


class Digits(Dataset[tuple[Tensor, int]]):
    """torchvision's `MNIST(transform=ToTensor())`, step by step: pixels to a PIL image, back to an array, channel
    first, float, divided by 255. torchvision itself does not import beside a CPU-only torch."""

    def __init__(self, x_ND: Tensor, y_N: Tensor, shape: tuple[int, ...]) -> None:
        # In pieces, so that no second copy of all pixels as floats comes to be.
        self.pixels = torch.cat([(x * 255).round().to(torch.uint8) for x in x_ND.split(1000)]).view(-1, *shape)
        self.targets = y_N
        try:
            from PIL import Image
        except ImportError:
            self.image = np.array
        else:
            self.image = Image.fromarray

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image, target = self.image(self.pixels[i].numpy()), int(self.targets[i])
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True))[..., None]
        return tensor.permute(2, 0, 1).contiguous().to(torch.float32).div(255), target


class LoaderLoop(Arm):
    """One network after the other; the loader gives the rows in the common order."""

    once = True

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.samples = self.make_dataset()
        self.networks = [build(c).to(work.device) for c in self.configs]
        self.optimizers = [make_optimizer(c, m) for c, m in zip(self.configs, self.networks, strict=True)]

    def make_dataset(self) -> Dataset[tuple[Tensor, ...]]:
        raise NotImplementedError

    def epoch(self, number: int) -> None:
        torch.set_num_threads(1)  # faster than two for operators this small
        for config, model, optimizer in zip(self.configs, self.networks, self.optimizers, strict=True):
            loader = DataLoader(self.samples, batch_size=BATCH, sampler=self.work.order(config, number).tolist())
            for x, y in loader:
                x, y = x.to(self.work.device), y.to(self.work.device)
                loss = F.cross_entropy(model(x.flatten(1)), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        if self.work.device.type == "cuda":
            torch.cuda.synchronize()

    def models(self, members: Sequence[int]) -> list[nn.Sequential | None]:
        return [plain(self.networks[i], self.configs[i]) for i in members]


class UsualLoop(LoaderLoop):
    label = "(a) Dataset with transform + DataLoader"
    most = 2

    def make_dataset(self) -> Dataset[tuple[Tensor, ...]]:
        return Digits(self.work.dataset.x_ND, self.work.dataset.y_N, self.work.configs[0].data.facts.shape)


class TensorLoop(LoaderLoop):
    label = "(b) TensorDataset + DataLoader"
    most = 4

    def make_dataset(self) -> Dataset[tuple[Tensor, ...]]:
        return TensorDataset(self.work.dataset.x_ND, self.work.dataset.y_N)
